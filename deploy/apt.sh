# shellcheck shell=bash
# What scripts share that install or unpack Debian's packages. To be sourced.

have() { command -v "$1" >/dev/null; }

as_root() {
  if ((EUID == 0)); then "$@"
  elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then sudo "$@"
  else return 1
  fi
}

# own_lists FOLDER ARCH...: from here on apt keeps its lists and downloads in FOLDER, for these architectures
# (the first is its own) instead of the machine's, and takes nothing for installed. It needs no root.
own_lists() {
  local folder=$1 each
  shift
  mkdir -p "$folder"/{state/lists,cache/archives}/partial
  {
    echo "APT::Architecture \"$1\";"
    for each; do echo "APT::Architectures:: \"$each\";"; done
    echo 'APT::Sandbox::User "root";'
    echo 'Acquire::Languages "none";'
    echo "Dir::State \"$folder/state\";"
    echo 'Dir::State::status "/dev/null";'
    echo "Dir::Cache \"$folder/cache\";"
  } >"$folder/apt.conf"
  export APT_CONFIG=$folder/apt.conf
}

# shellcheck shell=bash
# What scripts share that install or unpack Debian's packages. To be sourced.

have() { command -v "$1" >/dev/null; }

as_root() {
  if ((EUID == 0)); then "$@"
  elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then sudo "$@"
  else return 1
  fi
}

# install_packages WHO PACKAGE...: installs packages for the script WHO, or says what is to be done and fails.
install_packages() {
  local who=$1 log
  shift
  have apt-get || {
    echo "$who: no apt here; install the equivalent of these Debian packages: $*" >&2
    return 1
  }
  as_root true || {
    echo "$who: missing packages; as root: apt-get install --no-install-recommends $*" >&2
    return 1
  }
  echo "$who: installing $*"
  # apt's chatter is only worth reading when it fails.
  log=$(as_root apt-get update 2>&1 &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      -o Dpkg::Options::=--force-confold "$@" 2>&1) || {
    echo "$log" >&2
    echo "$who: apt failed (its output is above); mend that and run this again" >&2
    return 1
  }
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

# shellcheck shell=bash
# Debians in chroots, for scripts of this folder. To be sourced after guest.sh.
# shellcheck disable=SC2154 # variables of guest.sh

((EUID == 0)) || skip "chroots are for root"
need mmdebstrap=mmdebstrap unshare=util-linux git=git

declare -A codename=([12]=bookworm [13]=trixie)

# debian VERSION TREE: a fresh Debian with certificates, and the way to networks that this machine has.
debian() {
  local base=$cache/debian-$1.tar tree=$2
  if [[ ! -e $base ]]; then
    say "making a Debian $1 (a minute or two)" >&2
    mkdir -p "$cache"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates "${codename[$1]}" "$work/fresh.tar" \
      2>"$work/mmdebstrap.log" || fail "mmdebstrap: $(tail -n 1 "$work/mmdebstrap.log")"
    mv "$work/fresh.tar" "$base"
  fi
  mkdir "$tree"
  tar --extract --file "$base" --directory "$tree"
  as_here "$tree"
}

# as_here TREE: name servers, certificates, and how apt, pip and cargo reach the world, as on this machine.
as_here() {
  local tree=$1 each
  for each in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf ~/.config/pip ~/.pip; do
    copy "$each" "$tree${each/#"$HOME"/\/root}"
  done
  copy "${CARGO_HOME:-$HOME/.cargo}"/config.toml "$tree/root/.cargo/config.toml"
  apt-config dump | grep '^Acquire::' >"$tree/etc/apt/apt.conf.d/99here" || true
}

# copy FROM TO: if it is there.
copy() {
  if [[ -e $1 ]]; then
    mkdir -p "${2%/*}"
    cp --recursive --dereference --no-target-directory "$1" "$2"
  fi
}

# enter TREE COMMAND...: runs it in there, with rustup's toolchain and the packages that cargo has fetched.
# Mounts and processes end with it.
enter() {
  local tree=$1
  shift
  # shellcheck disable=SC2016 # for the shell in the namespace
  unshare --mount --propagation private --pid --fork --kill-child --uts bash -euc '
    tree=$1 cargo=$2 rustup=$3
    shift 3
    mount -t proc proc "$tree/proc"
    mount --rbind /sys "$tree/sys"
    mount --rbind /dev "$tree/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"
    mkdir -p "$tree/root/.cargo/registry" "$tree/root/.cargo/bin" "$tree/root/.rustup"
    mount --bind "$cargo/bin" "$tree/root/.cargo/bin"
    mount --bind "$cargo/registry" "$tree/root/.cargo/registry"
    mount --bind "$rustup" "$tree/root/.rustup"
    mount -o remount,bind,ro "$tree/root/.cargo/bin"
    mount -o remount,bind,ro "$tree/root/.rustup"
    exec chroot "$tree" "$@"' - "$tree" "${CARGO_HOME:-$HOME/.cargo}" "${RUSTUP_HOME:-$HOME/.rustup}" \
    env -u CARGO_TARGET_DIR -u CARGO_HOME -u RUSTUP_HOME -u TMPDIR -u XDG_CACHE_HOME -u XDG_STATE_HOME -u ROLLCALL_LITERT \
    -u ROLLCALL_MODELS HOME=/root PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

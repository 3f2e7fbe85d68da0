#!/usr/bin/env bash
# Installs what building, testing and running Rollcall needs and this machine lacks: a C compiler,
# make, libclang, PostgreSQL's server programs and Python's pip. Debian packages, through apt, as
# root or with sudo. When nothing is missing it looks, says nothing and calls nothing.
set -euo pipefail

case "${1-}" in
'') ;;
-h | --help)
  echo "usage: deploy/setup.sh    installs missing Debian packages; takes no options"
  exit ;;
*) echo "setup: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

have() { command -v "$1" >/dev/null; }
any() { # does any file match one of these patterns?
  local pattern
  for pattern; do compgen -G "$pattern" >/dev/null && return; done
  return 1
}

has_c() { have cc && any '/usr/include/stdio.h'; }

# The bindings to Video4Linux are generated: that takes libclang, and clang's own headers with it.
has_libclang() {
  any /usr/lib/llvm-*/lib/libclang{.so,-[0-9]}* /usr/lib/*/libclang{.so,-[0-9]}* \
    /usr/local/lib/libclang{.so,-[0-9]}* &&
    any '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' '/usr/lib/clang/*/include/stddef.h' \
      '/usr/local/lib/clang/*/include/stddef.h'
}

has_postgres() { have initdb || any '/usr/lib/postgresql/*/bin/initdb'; }

has_pip() {
  python3 -c 'import sys, importlib.util as i; sys.exit(not i.find_spec("pip"))' 2>/dev/null
}

missing() {
  has_c || echo gcc libc6-dev
  have make || echo make
  has_libclang || echo libclang-dev
  has_postgres || echo postgresql-15
  have python3 || echo python3
  has_pip || echo python3-pip
}

mapfile -t packages < <(missing | tr ' ' '\n')
if ((${#packages[@]})); then
  if ((EUID == 0)); then
    root=()
  elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
    root=(sudo)
  else
    echo "setup: missing packages; as root: apt-get install --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
  if ! have apt-get; then
    echo "setup: no apt here; install the equivalent of these Debian packages: ${packages[*]}" >&2
    exit 1
  fi

  # Rollcall runs a private PostgreSQL of its own; Debian would start one for the whole machine.
  cluster=/etc/postgresql-common/createcluster.conf
  if [[ " ${packages[*]} " == *' postgresql-15 '* && ! -e $cluster ]]; then
    "${root[@]}" mkdir -p "${cluster%/*}"
    echo 'create_main_cluster = false' | "${root[@]}" tee "$cluster" >/dev/null
  fi

  echo "setup: installing ${packages[*]}"
  # apt's chatter is only worth reading when it fails.
  log=$("${root[@]}" apt-get update 2>&1 &&
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      -o Dpkg::Options::=--force-confold "${packages[@]}" 2>&1) || {
    echo "$log" >&2
    echo "setup: apt failed (its output is above); mend that and run deploy/setup.sh again" >&2
    exit 1
  }

  still=$(missing)
  if [[ -n $still ]]; then
    echo "setup: still not found after installing: ${still//$'\n'/ }; see deploy/setup.sh for where it looks" >&2
    exit 1
  fi
fi

if ! have cargo && [[ ! -x $HOME/.cargo/bin/cargo ]]; then
  echo "setup: cargo is missing; install Rust's stable toolchain with rustup (https://rustup.rs)" >&2
  exit 1
fi

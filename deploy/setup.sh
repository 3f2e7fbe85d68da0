#!/usr/bin/env bash
# Installs what building, testing and running Rollcall needs and this machine lacks: a C compiler,
# make, libclang, PostgreSQL's server programs and Python's pip. Packages of Debian or Ubuntu, through
# apt, as root or with sudo. When nothing is missing it looks, says nothing and calls nothing.
set -euo pipefail

case "${1-}" in
'') ;;
-h | --help)
  echo "usage: deploy/setup.sh    installs missing Debian packages; takes no options"
  exit ;;
*) echo "setup: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$deploy/apt.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$deploy/packages.sh"

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
  has_c || packages compiler
  have make || packages make
  has_libclang || packages libclang
  has_postgres || packages postgresql
  have python3 || packages python3
  has_pip || packages pip
}

mapfile -t names < <(missing)
if ((${#names[@]})); then
  # Rollcall runs a private PostgreSQL of its own; Debian would start one for the whole machine.
  cluster=/etc/postgresql-common/createcluster.conf
  if ! has_postgres && [[ ! -e $cluster ]] && have apt-get && as_root mkdir -p "${cluster%/*}"; then
    echo 'create_main_cluster = false' | as_root tee "$cluster" >/dev/null
  fi
  install_packages setup "${names[@]}"

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

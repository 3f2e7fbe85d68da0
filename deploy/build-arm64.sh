#!/usr/bin/env bash
# Builds Rollcall for 64-bit ARM on an x86-64 Debian, with Debian's packages alone: no Docker, and
# nothing in rustup. Cargo is rustup's; the compiler is Debian's rustc-web, since Debian has it
# with the standard library of both architectures (a compiler takes no library but its own). It is
# unpacked into the cache, not installed, and dpkg never hears of another architecture.
set -euo pipefail

help="usage: deploy/build-arm64.sh [--bin NAME]...     builds programs (both without --bin)
       deploy/build-arm64.sh -- COMMAND ARGUMENT...  any command of cargo, for 64-bit ARM

What it builds lies in target/arm64/aarch64-unknown-linux-gnu/release, beside the native build, so that neither
waits for the other; CARGO_TARGET_DIR names another place than target/arm64. Commands that run something
('-- test --release -p proto') run it under qemu-aarch64-static. Delete ~/.cache/rollcall/rustc-web for Debian's
newest compiler. 'nice -n 19 deploy/build-arm64.sh' leaves the machine to others."

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=aarch64-unknown-linux-gnu
cross=aarch64-linux-gnu
fail() { echo "build-arm64: $*" >&2; exit 1; }

programs=() arguments=()
while (($#)); do
  case $1 in
  -h | --help) echo "$help"; exit ;;
  --bin)
    case ${2-} in
    rollcall-edge | rollcall-hub) programs+=("$2"); shift ;;
    *) echo "build-arm64: no program '${2-}': rollcall-edge or rollcall-hub" >&2; exit 2 ;;
    esac ;;
  --) shift; (($#)) || { echo "$help" >&2; exit 2; }; arguments=("$@"); break ;;
  *) echo "build-arm64: unknown option '$1' (try --help)" >&2; exit 2 ;;
  esac
  shift
done
[[ $(uname -m) == x86_64 ]] || fail "for x86-64 machines; this one is $(uname -m): if it is aarch64, cargo build --release will do"

export PATH=$PATH:$HOME/.cargo/bin
# shellcheck source-path=SCRIPTDIR source=apt.sh
. "$root/deploy/apt.sh"
have cargo || fail "cargo is missing; install Rust's stable toolchain with rustup (https://rustup.rs)"
have apt-get || fail "no apt here: this takes Debian (elsewhere: cross and Docker, see cross.toml)"

missing() {
  have cc && [[ -e /usr/include/stdio.h ]] || echo gcc libc6-dev # build scripts run here
  have make || echo make
  compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || echo libclang-dev # bindings to Video4Linux
  have $cross-gcc || echo gcc-$cross
  have $cross-g++ || echo g++-$cross
  [[ -e /usr/$cross/include/stdio.h ]] || echo libc6-dev-arm64-cross
  have qemu-aarch64-static || echo qemu-user-static
}
packages=$(missing | paste -sd ' ')
if [[ $packages ]]; then
  echo "build-arm64: installing $packages" >&2
  # shellcheck disable=SC2086 # several packages
  log=$( (as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $packages) 2>&1) || {
    tail -n 5 <<<"$log" >&2
    fail "apt failed; as root: apt-get install --no-install-recommends $packages"
  }
fi

# The compiler, and its standard library for both architectures: of one version, as they come together.
compiler=${XDG_CACHE_HOME:-$HOME/.cache}/rollcall/rustc-web
if [[ ! -x $compiler/rustc ]]; then
  echo "build-arm64: fetching Debian's rustc-web" >&2
  mkdir -p "${compiler%/*}"
  fresh=$(mktemp -d "${compiler%/*}/.rustc.XXXXXX")
  trap 'rm -rf "$fresh"' EXIT
  mkdir -p "$fresh/tree"
  log=$( (
    cd "$fresh"
    own_lists "$fresh" amd64 arm64 # those of the machine know its own architecture only
    apt-get update || true # somebody else's source may be out of order
    needs() { apt-cache depends "$1" | sed -n "s/^ *Depends: \($2[0-9.]*\)$/\1/p" | head -n 1; }
    library=$(needs libstd-rust-web-dev libstd-rust-web-)
    llvm=$(needs "$library" libllvm)
    apt-get download rustc-web "$library" "$llvm" libstd-rust-web-dev:{amd64,arm64} &&
      for each in *.deb; do dpkg -x "$each" tree || exit; done
  ) 2>&1) || {
    tail -n 5 <<<"$log" >&2
    fail "apt could not fetch rustc-web; Debian 12 and 13 with their security updates have it"
  }
  # It finds its libraries by this alone, and cargo's other children don't find them.
  cat >"$fresh/tree/rustc" <<'RUSTC'
#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/usr/bin/rustc" "$@"
RUSTC
  chmod 755 "$fresh/tree/rustc"
  "$fresh/tree/rustc" --version >&2 || fail "Debian's rustc does not run here"
  rm -rf "$compiler"
  mv "$fresh/tree" "$compiler" # all of it or nothing
fi

cd "$root"
export CARGO_BUILD_TARGET=$target CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/arm64} RUSTC=$compiler/rustc
prefix=CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU
# A Raspberry Pi 5's processor: of the one that QEMU invents by itself (7.2, with i8mm), LiteRT's results are wrong.
export ${prefix}_LINKER=$cross-gcc ${prefix}_RUNNER="qemu-aarch64-static -cpu cortex-a76 -L /usr/$cross"
triple=${target//-/_}
export "CC_$triple=$cross-gcc" "CXX_$triple=$cross-g++" "AR_$triple=$cross-ar"
export "BINDGEN_EXTRA_CLANG_ARGS_$triple=--target=$cross -I/usr/$cross/include"

if ((${#arguments[@]})); then
  # The library that .cargo/config.toml names is this machine's.
  if [[ ${arguments[0]} =~ ^(t|test|r|run|bench)$ ]]; then
    models/fetch.sh --arch aarch64 --out "$CARGO_TARGET_DIR/litert"
    export ROLLCALL_LITERT=${ROLLCALL_LITERT:-$(cd "$CARGO_TARGET_DIR/litert" && pwd)/libLiteRt.so}
  fi
  exec cargo "${arguments[@]}"
fi

((${#programs[@]})) || programs=(rollcall-edge rollcall-hub)
for program in "${programs[@]}"; do
  options=()
  [[ $program == rollcall-edge ]] || options=(--features "hub/pdf")
  cargo build --release --locked -p "${program#rollcall-}" --bin "$program" "${options[@]}"
  echo "$CARGO_TARGET_DIR/$target/release/$program"
done

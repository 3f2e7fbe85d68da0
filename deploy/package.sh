#!/usr/bin/env bash
# Makes Debian packages of Rollcall: target/debian/rollcall-{edge,hub}_VERSION_{amd64,arm64}.deb. They hold on Debian 12
# and 13 and Ubuntu 22.04 and 24.04 if they are made on the oldest of these that they are for.
# What is in them stands in edge/Cargo.toml and hub/Cargo.toml, what they do when they are installed and
# removed in deploy/debian.
set -euo pipefail

help='usage: deploy/package.sh [OPTION...] [edge|hub]... [amd64|arm64]...    all four where nothing is named

  --version VERSION   another version than that of Cargo.toml
  --programs FOLDER   package the programs of this folder; nothing is built (one architecture only)
  --output FOLDER     put the packages there instead of target/debian
  --fast              compress with gzip: larger, but made and unpacked sooner

Builds with cargo (the hub with PDF), for the other architecture with deploy/build-arm64.sh.'

cargo_deb=3.8.0
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$PATH:$HOME/.cargo/bin
fail() { echo "package: $*" >&2; exit 1; }
wrong() { echo "package: $* (try --help)" >&2; exit 2; }

version='' programs='' output=target/debian names=() arches=() options=()
while (($#)); do
  case $1 in
  -h | --help) echo "$help"; exit ;;
  --version) version=${2-}; [[ $version =~ ^[0-9][A-Za-z0-9.+~]*$ ]] || wrong "'$version' is no version"; shift ;;
  --programs) programs=${2-}; [[ -d $programs ]] || wrong "no folder '$programs'"; shift ;;
  --output) output=${2-}; [[ $output ]] || wrong "--output takes a folder"; shift ;;
  --fast) options+=(--fast --compress-type gz --compress-system) ;;
  edge | hub) names+=("$1") ;;
  amd64 | arm64) arches+=("$1") ;;
  *) wrong "what is '$1'?" ;;
  esac
  shift
done
((${#names[@]})) || names=(edge hub)
((${#arches[@]})) || arches=(amd64 arm64)
[[ -z $programs || ${#arches[@]} == 1 ]] || wrong "--programs are of one architecture: name it"

have() { command -v "$1" >/dev/null; }
have cargo || fail "cargo is missing; install Rust's stable toolchain with rustup (https://rustup.rs)"
case $(uname -m) in
x86_64) here=amd64 ;;
aarch64) here=arm64 ;;
*) fail "packages are made for x86-64 and 64-bit ARM, and on these" ;;
esac

tools=$root/target/tools
if [[ $("$tools/bin/cargo-deb" --version 2>/dev/null) != "cargo-deb $cargo_deb" ]]; then
  echo "package: installing cargo-deb $cargo_deb into target/tools" >&2
  cargo install --quiet --locked --force --root "$tools" --target-dir "$tools/build" cargo-deb --version $cargo_deb ||
    fail "cargo-deb $cargo_deb could not be installed"
  rm -rf "$tools/build"
fi

# Packages of one commit are the same whenever they are made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)}
export SOURCE_DATE_EPOCH
[[ $version ]] || version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

# knows_libc OBJDUMP PROGRAM NAME: a program takes the C library that it was built with, or a newer one than it uses.
knows_libc() {
  local says takes
  says=$(sed -n 's/^depends = .*libc6 (>= \([0-9.]*\)).*/\1/p' "$3/Cargo.toml")
  takes=$("$1" -T "$2" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
  [[ $(printf '%s\n' "$says" "${takes#GLIBC_}" | sort -V | tail -n 1) == "$says" ]] ||
    fail "the program takes libc6 ${takes#GLIBC_}, the package says $says: make it on an older distribution, or change $3/Cargo.toml"
}

mkdir -p "$output"
output=$(cd "$output" && pwd)
for arch in "${arches[@]}"; do
  machine=x86_64 strip=strip
  [[ $arch == amd64 ]] || machine=aarch64
  [[ $arch == "$here" ]] || strip=$machine-linux-gnu-strip
  target=$machine-unknown-linux-gnu
  for name in "${names[@]}"; do
    program=rollcall-$name
    if [[ $programs ]]; then
      built=$programs/$program
      [[ -x $built ]] || fail "no $program in $programs"
    elif [[ $arch == "$here" ]]; then
      pdf=()
      [[ $name == edge ]] || pdf=(--features hub/pdf)
      cargo build --release --locked -p "$name" --bin "$program" "${pdf[@]}"
      built=${CARGO_TARGET_DIR:-target}/release/$program
    else
      [[ $arch == arm64 ]] || fail "packages for $arch are made on such a machine"
      built=$(deploy/build-arm64.sh --bin "$program" | tail -n 1)
    fi

    # cargo-deb looks for what was built in a folder as cargo's; this one holds what goes into the package.
    stage=$root/target/package/$arch/$target/release
    mkdir -p "$stage"
    have $strip || fail "$strip is missing: deploy/build-arm64.sh installs it (gcc-$machine-linux-gnu)"
    $strip --remove-section=.comment --remove-section=.note -o "$stage/$program" "$built"
    knows_libc "${strip%strip}objdump" "$stage/$program" "$name"
    models/fetch.sh --arch $machine --out "$stage"
    printf '%s (%s) stable; urgency=medium\n\n  * Rollcall %s.\n\n -- %s  %s\n' "$program" "$version" "$version" \
      "$(sed -n 's/^maintainer = "\(.*\)"/\1/p' "$name/Cargo.toml")" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" |
      gzip -9n >"$stage/changelog.gz"
    CARGO_TARGET_DIR=$root/target/package/$arch "$tools/bin/cargo-deb" deb --quiet --no-build --no-strip \
      -p "$name" --target "$target" --deb-version "$version" "${options[@]}" \
      --output "$output/${program}_${version}_$arch.deb" >/dev/null || fail "cargo-deb failed"
    echo "$output/${program}_${version}_$arch.deb"
  done
done

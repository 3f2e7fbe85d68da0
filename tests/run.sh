#!/usr/bin/env bash
# Runs tests, set-up included: packages, LiteRT, a mail server, Mosquitto, photos, and the binaries, which the
# tests start, kill and start again. cargo-nextest is used where it is installed, since many tests wait and it
# runs those of all files side by side.
#
# The accuracy test measures recognition on many photos, which are not part of Rollcall:
# ROLLCALL_FACES names a folder with lfw/ (the photos), pairs.tsv (a, b, same) and identities.tsv
# (name, gallery, probe). Without it that test is skipped.
set -euo pipefail

usage="usage: tests/run.sh [FILE] [ARGUMENT]...

  FILE        the name of a file of tests, such as delivery (tests/tests/delivery.rs); without any, every test runs
  ARGUMENT    anything else goes to cargo nextest run, or to cargo test where that is not installed:
              a part of a test's name, an option"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$PATH:$HOME/.cargo/bin

case ${1-} in
-h | --help) echo "$usage"; exit ;;
'' | *[!a-z_]*) ;;
*) if compgen -G "*/tests/$1.rs" >/dev/null; then set -- --test "$@"; fi ;;
esac

deploy/setup.sh
models/fetch.sh
tests/smtp/fetch.sh
tests/setup.sh
deploy/photos.sh

export ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so
export ROLLCALL_MODELS=$root/models/data

# Photos to measure with, beside the project, never in it.
: "${ROLLCALL_FACES:=$(dirname "$root")/shared/faces}"
if [[ -d $ROLLCALL_FACES ]]; then
  export ROLLCALL_FACES
else
  echo "tests: no photos at $ROLLCALL_FACES (ROLLCALL_FACES): the accuracy test is skipped"
  unset ROLLCALL_FACES
fi

build=(--release --workspace --locked --features hub/pdf) # with all that releases have
cargo build "${build[@]}" --bins --example evaluate       # the accuracy test starts the example
run=(test)
if cargo nextest --version >/dev/null 2>&1; then
  run=(nextest run)
fi
cargo "${run[@]}" "${build[@]}" --no-fail-fast "$@"

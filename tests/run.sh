#!/usr/bin/env bash
# Runs every test, set-up included: packages, LiteRT, a mail server, Mosquitto, photos, binaries (which the
# tests start, kill and start again), then `cargo test` with this script's arguments passed on.
#
# The accuracy test measures recognition on many photos, which are not part of Rollcall:
# ROLLCALL_FACES names a folder with lfw/ (the photos), pairs.tsv (a, b, same) and identities.tsv
# (name, gallery, probe). Without it that test is skipped.
set -euo pipefail

case "${1-}" in
-h | --help)
  echo "usage: tests/run.sh [ARGUMENT...]    arguments go to cargo test, e.g. tests/run.sh delivery"
  exit ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$PATH:$HOME/.cargo/bin

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

# With all that releases have.
cargo build --release --workspace --bins --locked --features hub/pdf
cargo test --release --workspace --locked --features hub/pdf --no-fail-fast "$@"

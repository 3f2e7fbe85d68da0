#!/usr/bin/env bash
# Shows Rollcall at work on this machine, from a clean clone: installs and fetches what is missing,
# builds, and starts the demonstration: a hub with its own private PostgreSQL, and terminals that
# look at photos instead of through a camera. Quick and quiet when all of that is done already.
set -euo pipefail

case "${1-}" in
-h | --help)
  cat <<'HELP'
usage: deploy/demo.sh [--once] [OPTION...]

  1. deploy/setup.sh    installs missing Debian packages (as root or with sudo)
  2. models/fetch.sh    fetches LiteRT, the models' runtime, into models/runtime/
  3. deploy/photos.sh   fetches the demonstration's photos into deploy/photos/
  4. cargo build        builds the release binaries
  5. rollcall-hub demo  runs the demonstration until it is interrupted; with --once it plays it
                        through, checks it and ends

All options go to `rollcall-hub demo`.
HELP
  exit ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$PATH:$HOME/.cargo/bin

deploy/setup.sh
models/fetch.sh
deploy/photos.sh

export ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so
export ROLLCALL_MODELS=$root/models/data
hub=${CARGO_TARGET_DIR:-target}/release/rollcall-hub
quiet=(--quiet)
if [[ ! -x $hub ]]; then
  echo "demo: building; from a clean clone that takes some minutes"
  quiet=()
fi
cargo build "${quiet[@]}" --release --workspace --bins --locked

exec "$hub" demo --photos deploy/photos "$@"

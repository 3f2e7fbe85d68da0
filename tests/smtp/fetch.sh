#!/usr/bin/env bash
# Fetches aiosmtpd, which the tests' mail server is made of, and what it imports into
# tests/smtp/wheels/. The wheels are pinned by SHA-256 in requirements.txt and imported as they
# are: nothing is installed. Does nothing when exactly these are there already.
set -euo pipefail

case "${1-}" in
'') ;;
-h | --help)
  echo "usage: tests/smtp/fetch.sh    fetches the tests' mail server; takes no options"
  exit ;;
*) echo "fetch: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wheels=$here/wheels
pinned=$(grep -o '[0-9a-f]\{64\}' "$here/requirements.txt" | sort)
complete() { [[ $(sha256sum "$1"/*.whl 2>/dev/null | cut -d' ' -f1 | sort) == "$pinned" ]]; }
complete "$wheels" && exit

echo "fetch: the tests' mail server"
mkdir -p "$wheels"
work=$(mktemp -d "$wheels/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
  --only-binary=:all: --dest "$work" --requirement "$here/requirements.txt" || {
  echo "fetch: pip could not download aiosmtpd: check the network, and deploy/setup.sh for pip" >&2
  exit 1
}
# Every wheel there is imported, so none of an older pin may stay.
rm -f "$wheels"/*.whl
mv "$work"/*.whl "$wheels"
complete "$wheels" || {
  echo "fetch: tests/smtp/wheels does not hold what requirements.txt pins" >&2
  exit 1
}

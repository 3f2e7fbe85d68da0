#!/usr/bin/env bash
# Fetches LiteRT, the runtime of the models, into models/runtime/libLiteRt.so or another folder. It
# comes out of PyPI's ai-edge-litert wheel; the wheel and the library are both pinned by SHA-256, since
# LiteRT's ABI moves between releases. Does nothing when the right library is there already.
set -euo pipefail

version=2.1.6
arch=$(uname -m)
runtime=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/runtime
while (($#)); do
  case $1 in
  --arch) arch=${2-}; shift 2 || shift ;;
  --arch=*) arch=${1#*=}; shift ;;
  --out) runtime=${2-}; shift 2 || shift ;;
  --out=*) runtime=${1#*=}; shift ;;
  -h | --help)
    echo "usage: models/fetch.sh [--arch x86_64|aarch64] [--out FOLDER]"
    echo "without options this machine's ($(uname -m)), into models/runtime"
    exit ;;
  *) echo "fetch: unknown option '$1' (try --help)" >&2; exit 2 ;;
  esac
done

case $arch in
x86_64)
  wheel=af4f2ba681fa2c688746cbd7ddd71a2bbbdd9e6a51aa609d382bfad77d1c695e
  library=d46eca60880d6e28c1992d136459f06ab642e30eb423bdc14d56e928f398ce19 ;;
aarch64)
  wheel=8475d18c73698d9244380ad72f67caf540e5c72d9a80c66d17c4b81ca81a21c8
  library=c3e365e05249ea97d8dd6d0590df7f9bc817ff61e9610a355ff3937b72864d11 ;;
*) echo "fetch: LiteRT is pinned for x86_64 and aarch64, not for '$arch'" >&2; exit 2 ;;
esac
[[ $runtime ]] || { echo "fetch: --out takes a folder (try --help)" >&2; exit 2; }

holds() { echo "$2  $1" | sha256sum --check --status 2>/dev/null; }
holds "$runtime/libLiteRt.so" "$library" && exit

echo "fetch: LiteRT $version for $arch"
mkdir -p "$runtime"
runtime=$(cd "$runtime" && pwd)
# Beside its destination, so that the last step is a rename: the library is there whole or not at all.
work=$(mktemp -d "$runtime/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "ai-edge-litert==$version --hash=sha256:$wheel" >"$work/requirements.txt"
# The wheel's Python is beside the point: asking for 3.11 makes it the same file everywhere.
python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
  --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
  --platform "manylinux_2_27_$arch" --dest "$work" --requirement "$work/requirements.txt" || {
  echo "fetch: pip could not download ai-edge-litert $version: check the network, and deploy/setup.sh for pip" >&2
  exit 1
}
python3 -m zipfile --extract "$work"/*.whl "$work/wheel"
mv "$work/wheel/ai_edge_litert/libLiteRt.so" "$work/libLiteRt.so"
holds "$work/libLiteRt.so" "$library" || {
  echo "fetch: the wheel's libLiteRt.so is not the pinned one: update both hashes in models/fetch.sh" >&2
  exit 1
}
chmod 644 "$work/libLiteRt.so"
mv "$work/libLiteRt.so" "$runtime/libLiteRt.so"

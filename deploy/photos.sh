#!/usr/bin/env bash
# Fetches the demonstration's photos into deploy/photos/, each pinned by SHA-256. They are fetched,
# never committed. Does nothing when they are all there already.
#
#   obama.jpg obama2.jpg obama3.jpg biden.jpg
#       Official White House photographs by Pete Souza (2009 to 2012), as they come with the tests
#       of face_recognition 1.3.0 (PyPI, source archive, tests/test_images). Works of the United
#       States government, so in its public domain; a notice in their EXIF data asks not to
#       manipulate them and not to use them so as to suggest an endorsement.
#   astronaut.png
#       Eileen Collins, a photograph by NASA, in the public domain, as it comes with scikit-image
#       0.22.0 (PyPI, skimage/data).
set -euo pipefail

case "${1-}" in
'') ;;
-h | --help)
  echo "usage: deploy/photos.sh    fetches the demonstration's photos; takes no options"
  exit ;;
*) echo "photos: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

photos=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/photos
pinned='0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6  obama.jpg
a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6  obama2.jpg
76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3  obama3.jpg
3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c  biden.jpg
88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5  astronaut.png'
complete() { (cd "$1" 2>/dev/null && sha256sum --check --status 2>/dev/null <<<"$pinned"); }
complete "$photos" && exit

echo "photos: fetching the demonstration's photos"
mkdir -p "$photos"
work=$(mktemp -d "$photos/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

# fetch NAME==VERSION HASH... -- OPTION...: downloads one package, whose file has one of the hashes
fetch() {
  local requirement=$1
  shift
  while [[ $1 != -- ]]; do requirement+=" --hash=sha256:$1"; shift; done
  shift
  echo "$requirement" >"$work/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
    --dest "$work" --requirement "$work/requirements.txt" "$@" || {
    echo "photos: pip could not download ${requirement%% *}: check the network, and deploy/setup.sh for pip" >&2
    exit 1
  }
}

# pip asks a source archive's setup.py for its metadata even to download it. Left alone, it would
# fetch today's setuptools for that; with this one at hand everything that runs here is pinned.
fetch setuptools==80.9.0 062d34222ad13e0cc312a4c02d73f059e86a4acbfbdea8f8f76b28c99f306922 -- \
  --only-binary=:all:
python3 -m zipfile --extract "$work"/setuptools-*.whl "$work/setuptools"
PYTHONPATH=$work/setuptools fetch face_recognition==1.3.0 \
  5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec -- \
  --no-binary=:all: --no-build-isolation
tar --extract --gzip --no-same-owner --directory "$work" --file "$work"/face_recognition-1.3.0.tar.gz

# Any architecture's wheel would do, the picture is the same; each machine takes its own.
fetch scikit-image==0.22.0 \
  c5c378db54e61b491b9edeefff87e49fcf7fdf729bb93c777d7a5f15d36f743e \
  e87872f067444ee90a00dd49ca897208308645382e8a24bd3e76f301af2352cd -- \
  --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
  --platform "manylinux2014_$(uname -m)"
python3 -m zipfile --extract "$work"/scikit_image-*.whl "$work/skimage"

mkdir "$work/new"
mv "$work"/face_recognition-1.3.0/tests/test_images/{obama,obama2,obama3,biden}.jpg \
  "$work/skimage/skimage/data/astronaut.png" "$work/new"
complete "$work/new" || {
  echo "photos: a photo is not the pinned one: update the hashes in deploy/photos.sh" >&2
  exit 1
}
chmod 644 "$work"/new/*
mv "$work"/new/* "$photos"

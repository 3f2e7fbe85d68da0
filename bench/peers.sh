#!/usr/bin/env bash
# Compares the eyes with their peers: face_recognition (dlib), @vladmandic/face-api and MediaPipe, from
# PyPI and npm, pinned by hash. Everybody looks at the same pixels: frames of 640x480 in turns on one
# core, one thread each, and photos to tell people apart. Run by hand; models/README.md has the results.
set -euo pipefail

usage() {
  cat <<'END'
usage: bench/peers.sh --images DIR --pairs FILE [--identities FILE] [options]

  --images DIR        the folder that the names of photos start from; a photo's folder is its person
  --pairs FILE        lines of a<TAB>b<TAB>1|0: two photos and whether they show the same person
  --identities FILE   lines of name<TAB>gallery<TAB>probe: a photo to enrol and one to recognise
  --photos N          only so many lines as show about N photos (default: all)
  --frames N          frames to time (default: 100; 0: no timing)
  --core N            the core that the timing is pinned to (default: 0)
  --jobs N            systems that look at photos at once (default: the number of cores)
  --table             print a Markdown table after the JSON object

Takes x86-64, Python 3.11 with venv (PYTHON=... names another), Node.js with npm, and 3 GB in
bench/work; the first run builds dlib, some minutes. Missing build tools and OpenBLAS are
installed through apt, as root or with sudo.
END
}
fail() { echo "peers: $1" >&2; exit "${2-1}"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
work=$here/work
python=${PYTHON:-python3.11}

images='' pairs='' options=()
while (($#)); do
  case $1 in
  -h | --help) usage; exit ;;
  --table) options+=("$1"); shift; continue ;;
  --images | --pairs | --identities | --photos | --frames | --core | --jobs) ;;
  *) fail "unknown option '$1' (try --help)" 2 ;;
  esac
  (($# > 1)) || fail "$1 needs a value" 2
  case $1 in
  --images) [[ -d $2 ]] || fail "no such folder: $2" 2; images=$2 ;;
  --pairs | --identities) [[ -r $2 ]] || fail "cannot read $2" 2; [[ $1 == --identities ]] || pairs=$2 ;;
  *) [[ $2 =~ ^[0-9]+$ ]] || fail "$1 takes a number, not '$2'" 2 ;;
  esac
  options+=("$1" "$2")
  shift 2
done
[[ $images && $pairs ]] || fail "--images and --pairs are needed (try --help)" 2
[[ $(uname -m) == x86_64 ]] || fail "the peers are pinned for x86_64, not for $(uname -m)" 2
for program in "$python" node npm cargo taskset; do
  command -v "$program" >/dev/null || fail "'$program' is missing (try --help)"
done
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
  fail "$python is not Python 3.11, for which the wheels are pinned (PYTHON=... names another)"

# dlib is compiled here, with OpenBLAS as face_recognition's own instructions have it.
build_tools() {
  local missing=() as_root=()
  command -v g++ >/dev/null && command -v make >/dev/null || missing+=(build-essential)
  compgen -G '/usr/include/*/cblas.h' >/dev/null || missing+=(libopenblas-dev)
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || as_root=(sudo)
  echo "peers: installing ${missing[*]}" >&2
  if ! { "${as_root[@]}" apt-get update && "${as_root[@]}" apt-get install -y "${missing[@]}"; } &>"$work/apt.log"; then
    fail "install these Debian packages first (see $work/apt.log): ${missing[*]}"
  fi
}

# A folder is ready when everything that is pinned is in it; a new pin makes it anew.
ready() { cat "${@:2}" | cmp --silent - "$work/$1/ready" 2>/dev/null; }
done_with() { cat "${@:2}" >"$work/$1/ready"; }

install() { # NAME REQUIREMENTS..., each file by itself and in this order
  ready "$@" && return
  echo "peers: installing $1" >&2
  local file
  "$python" -m venv --clear "$work/$1"
  for file in "${@:2}"; do
    PATH=$work/$1/bin:$PATH "$work/$1/bin/python" -m pip install --quiet --disable-pip-version-check \
      --require-hashes --no-build-isolation --requirement "$file" >&2 || fail "pip could not install $file"
  done
  done_with "$@"
}

install_node() {
  local pins=("$here/peers/package.json" "$here/peers/package-lock.json")
  ready node "${pins[@]}" && return
  echo "peers: installing face-api" >&2
  mkdir -p "$work/node"
  cp "${pins[@]}" "$work/node"
  npm ci --silent --ignore-scripts --prefix "$work/node" >&2 || fail "npm could not install face-api"
  done_with node "${pins[@]}"
}

mkdir -p "$work"
build_tools
install face_recognition "$here/peers/requirements-build.txt" "$here/peers/requirements-face_recognition.txt"
install mediapipe "$here/peers/requirements-mediapipe.txt"
install_node
"$root/models/fetch.sh" >&2
target=${CARGO_TARGET_DIR:-$root/target}
cargo build --quiet --release --locked --manifest-path "$here/Cargo.toml" --target-dir "$target" \
  --example peer >&2

export ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so ROLLCALL_MODELS=$root/models/data
exec "$work/face_recognition/bin/python" -B "$here/peers/compare.py" --work "$work" \
  --rollcall "$target/release/examples/peer" "${options[@]}"

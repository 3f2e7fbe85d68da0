#!/usr/bin/env bash
# The arm64 suite; see run.sh. It builds for 64-bit ARM (deploy/build-arm64.sh) and runs that under qemu-user, as a
# Raspberry Pi 4 and 5: the models must see in photos what they see on this machine, the unit tests of terminal and
# protocol must pass, and so must the system tests with an arm64 terminal and a hub of this machine.
set -euo pipefail

usage="usage: tests/lab/arm64.sh [photos|units|system]...    all three where nothing is named

  ROLLCALL_FACES       folder of photos with faces, as for tests/run.sh; where it is not there, deploy/photos
  ROLLCALL_PHOTOS      how many of them (50)
  ROLLCALL_BIN_ARM64   folder of the arm64 rollcall-edge; without it, it is built

The first run builds for a quarter of an hour and longer. Emulated, a photo takes some 4 s."
parts=()
while (($#)); do
  case $1 in
  -h | --help) echo "$usage"; exit ;;
  photos | units | system) parts+=("$1") ;;
  *) echo "arm64: no part '$1' (try --help)" >&2; exit 2 ;;
  esac
  shift
done
((${#parts[@]})) || parts=(photos units system)

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=arm64
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"

[[ $(uname -m) == x86_64 ]] || skip "it compares x86-64 with 64-bit ARM, and this machine is $(uname -m)"
PATH=$PATH:$HOME/.cargo/bin
have cargo || skip "cargo is missing; install Rust's stable toolchain with rustup"
cd "$root"
need /usr/bin/python3=python3
{ deploy/setup.sh && models/fetch.sh && deploy/photos.sh; } >"$work/setup.log" 2>&1 || skip "$(tail -n 1 "$work/setup.log")"

arm=${CARGO_TARGET_DIR:-$root/target}/arm64
# arm_cargo LOG ARGUMENT...
arm_cargo() {
  local log=$work/$1
  shift
  CARGO_TARGET_DIR=$arm deploy/build-arm64.sh -- "$@" >"$log" 2>&1
}
emulated() { # emulated CPU PROGRAM ARGUMENT...
  local cpu=$1
  shift
  qemu-aarch64-static -cpu "$cpu" -L /usr/aarch64-linux-gnu "$@"
}
report() { # report STATUS WHAT [WHY]
  if (($1 == 0)); then echo "ok - $2"; else echo "not ok - $2: ${3-}"; fi
}
models/fetch.sh --arch aarch64 --out "$arm/litert"
export ROLLCALL_MODELS=$root/models/data

photos() {
  local faces=${ROLLCALL_FACES:-${root%/*}/shared/faces} cpu said
  [[ ! -d $faces/lfw ]] || faces=$faces/lfw
  if [[ ! -d $faces ]]; then
    say "no photos in $faces (ROLLCALL_FACES): the demonstration's few in deploy/photos are taken instead"
    faces=$root/deploy/photos
  fi
  local example=(-p bench --example fingerprint --release --locked)
  cargo build "${example[@]}" >"$work/native.log" 2>&1 || { report 1 "the bench builds" "$(tail -n 1 "$work/native.log")"; return; }
  arm_cargo example.log build "${example[@]}" || { report 1 "the bench builds for arm64" "$(tail -n 1 "$work/example.log")"; return; }
  local options=("$faces" --count "${ROLLCALL_PHOTOS:-50}")
  ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so "${CARGO_TARGET_DIR:-target}/release/examples/fingerprint" "${options[@]}" \
    >"$work/here.jsonl" 2>"$work/here.log" || { report 1 "the models see photos here" "$(tail -n 1 "$work/here.log")"; return; }
  # Both at once: a Raspberry Pi 4's processor, and a 5's, which has other instructions for bytes.
  local -A running=()
  for cpu in cortex-a72 cortex-a76; do
    ROLLCALL_LITERT=$arm/litert/libLiteRt.so emulated $cpu "$arm/aarch64-unknown-linux-gnu/release/examples/fingerprint" \
      "${options[@]}" >"$work/$cpu.jsonl" 2>"$work/$cpu.log" &
    running[$cpu]=$!
  done
  for cpu in cortex-a72 cortex-a76; do
    wait "${running[$cpu]}" || { report 1 "the models see photos as a $cpu" "$(tail -n 1 "$work/$cpu.log")"; continue; }
    if said=$(/usr/bin/python3 "$lab/fingerprints.py" "$work/here.jsonl" "$work/$cpu.jsonl" 2>&1); then
      report 0 "as a $cpu the models see what they see here: $said"
    else
      report 1 "as a $cpu the models see what they see here" "${said//$'\n'/; }"
    fi
  done
}

units() {
  local package status
  for package in proto edge; do
    status=0
    arm_cargo "$package.log" test --release --locked -p "$package" --lib || status=$?
    report $status "unit tests of $package: $(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$work/$package.log" | tail -n 1)" \
      "$(grep -E '^(test .*FAILED|error)' "$work/$package.log" | head -n 3 | tr '\n' ' ')"
  done
}

# The tests start whatever ROLLCALL_EDGE names as the terminal.
system() {
  local edge=${ROLLCALL_BIN_ARM64:-$arm/aarch64-unknown-linux-gnu/release}/rollcall-edge test status
  if [[ ! ${ROLLCALL_BIN_ARM64-} ]]; then
    CARGO_TARGET_DIR=$arm deploy/build-arm64.sh --bin rollcall-edge >"$work/edge-build.log" 2>&1 ||
      { report 1 "the terminal builds for arm64" "$(tail -n 1 "$work/edge-build.log")"; return; }
  fi
  cat >"$work/rollcall-edge" <<WRAPPER
#!/bin/sh
export ROLLCALL_LITERT=$arm/litert/libLiteRt.so
exec qemu-aarch64-static -cpu cortex-a76 -L /usr/aarch64-linux-gnu $edge "\$@"
WRAPPER
  chmod 755 "$work" "$work/rollcall-edge"
  cargo build --release --locked --workspace --bins --features hub/pdf >"$work/native.log" 2>&1 ||
    { report 1 "the hub builds" "$(tail -n 1 "$work/native.log")"; return; }
  for test in mqtt_security pairing external_broker delivery; do
    status=0
    ROLLCALL_EDGE=$work/rollcall-edge cargo test --release --locked -p tests --test "$test" -- --test-threads=1 \
      >"$work/$test.log" 2>&1 || status=$?
    report $status "$test with an arm64 terminal: $(sed -n 's/^test result: ok. \([0-9]* passed\).*/\1/p' "$work/$test.log" | tail -n 1)" \
      "$(grep -E '^(test .*FAILED|error)' "$work/$test.log" | head -n 3 | tr '\n' ' ')"
  done
}

for part in "${parts[@]}"; do "$part"; done
[[ ! ${KEEP-} ]] || keep=1

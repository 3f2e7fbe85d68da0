#!/usr/bin/env bash
# Runs a suite of the lab: real V4L2, real GPIO, a real Raspberry Pi's chip and a real image, all of them
# in QEMU. It numbers what the suite found, counts it and says so in a last line of JSON.
set -euo pipefail

usage="usage: tests/lab/run.sh SUITE

  x86       the terminal's camera (vivid, v4l2loopback) and its door (gpio-sim) in an x86-64 guest,
            with a hub on this machine: faults of the camera, pulses, a daemon that is killed
  pi        the arm64 terminal on an emulated Raspberry Pi 3: it recognises somebody offline and opens
            the door; the pins are read from outside
  package   the Debian packages in an image that boots
  upgrade   a Debian 12 with a hub's data becomes a Debian 13, and its PostgreSQL 15 a 17, in a chroot
  arm64     what is built for 64-bit ARM, under an emulator: the eyes, the outbox, TLS and MQTT

There is one line for each thing that was tried, 'ok 3 - what' or 'not ok 4 - what: why', and the last is
like {\"suite\":\"x86\",\"ok\":12,\"failed\":0,\"seconds\":71}. The exit status is 1 if anything failed. A machine
that a suite can't run on (x86-64 with Debian's apt is needed) gets one line that says so, and 0.

  ROLLCALL_BIN         folder of rollcall-edge and rollcall-hub (target/release)
  ROLLCALL_BIN_ARM64   folder of the arm64 rollcall-edge (target/arm64/aarch64-unknown-linux-gnu/release)
  PARTS                of x86: camera or gpio alone
  XDG_CACHE_HOME       where kernels and modules are kept, in rollcall/lab (~/.cache): some 800 MB"

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case ${1-} in
-h | --help) echo "$usage"; exit ;;
x86 | pi | package | upgrade | arm64) suite=$1 ;;
*) echo "lab: no suite '${1-}' (try --help)" >&2; exit 2 ;;
esac
(($# == 1)) || { echo "lab: one suite at a time (try --help)" >&2; exit 2; }
[[ -x $lab/$suite.sh ]] || { echo "$suite: skipped: there is no $lab/$suite.sh"; exit 0; }

ok=0 failed=0 skipped='' started=$SECONDS
while IFS= read -r line; do
  case $line in
  'ok - '*) ok=$((ok + 1)); line="ok $((ok + failed)) ${line#ok }" ;;
  'not ok - '*) failed=$((failed + 1)); line="not ok $((ok + failed)) ${line#not ok }" ;;
  *' skipped: '*) skipped=1 ;;
  esac
  echo "$line"
done < <("$lab/$suite.sh" || echo "not ok - the suite: it ended with $?")
((!skipped || ok + failed)) || exit 0
printf '{"suite":"%s","ok":%d,"failed":%d,"seconds":%d}\n' "$suite" "$ok" "$failed" $((SECONDS - started))
((ok && !failed))

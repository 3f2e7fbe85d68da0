#!/usr/bin/env bash
# The pi suite; see run.sh. The terminal gets its state from a hub on this machine, and then runs without any
# network and with a clock that was never set, as a Raspberry Pi's after a power cut.
# shellcheck disable=SC2015 # ok does not fail
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=pi
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
# shellcheck source-path=SCRIPTDIR source=hub.sh
. "$lab/hub.sh"

[[ $(uname -m) == x86_64 ]] || skip "its tools are for x86-64 machines, this one is $(uname -m)"
edge=${ROLLCALL_BIN_ARM64:-$root/target/arm64/aarch64-unknown-linux-gnu/release}/rollcall-edge
[[ -x $edge ]] || {
  echo "pi: no arm64 program at $edge (ROLLCALL_BIN_ARM64); build it with: deploy/build-arm64.sh --bin rollcall-edge" >&2
  exit 2
}
pil=/usr/lib/python3/dist-packages/PIL/Image.py
need qemu-system-aarch64=qemu-system-arm cpio=cpio modprobe=kmod curl=curl jq=jq /usr/bin/python3=python3 $pil=python3-pil
fetch busybox-arm64 arm64 busybox
fetch libraries-arm64 arm64 libc6 libgcc-s1 libstdc++6
kernel arm64
binaries
"$root/models/fetch.sh" --arch aarch64 --out "$cache/litert-arm64" >"$work/litert.log" 2>&1 ||
  skip "$(tail -n 1 "$work/litert.log")"

watcher=''
clean() {
  stop_hub
  [[ -z $watcher ]] || kill "$watcher" 2>/dev/null || true
}

# What lies on the Pi

on_pi=$work/initramfs/rollcall
mkdir -p "$on_pi"/{state,stand} "$work"/initramfs/{lib,tmp}
start_hub localhost
sign "$on_pi/state"
fill "$on_pi/state"
stop_hub

cp "$edge" "$cache/litert-arm64/libLiteRt.so" "$on_pi"
cp -r "$root/models/data" "$on_pi/models"
cp "$root/deploy/photos/obama.jpg" "$on_pi"
/usr/bin/python3 "$lab/faces.py" "$root/deploy/photos/obama.jpg" "$on_pi/stand"
for each in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libdl.so.2 librt.so.1 libpthread.so.0 libresolv.so.2 libgcc_s.so.1 \
  libstdc++.so.6; do
  cp -L "$cache"/libraries-arm64/{,usr/}lib/aarch64-linux-gnu/$each "$work/initramfs/lib" 2>/dev/null || true
done

config() { # config NAME BACKEND: standard input is the camera
  cat - >"$on_pi/$1.toml" <<TOML
state = "/rollcall/state"
[hub]
host = "127.0.0.1"
[gallery]
key = "/rollcall/state/roster.key"
[vision]
agreement = 1 # emulated, vision may take a second for a frame; a pass has more than one within a second
[door]
kind = "gpio"
backend = "$2"
green = 17
red = 27
relay = 23
punches_open = true
TOML
  cat >>"$on_pi/$1.toml"
}
stand='[camera]
kind = "replay"
folder = "/rollcall/stand/person"
rate = 1
repeat = true'
config walk auto <<'TOML'
[camera]
kind = "walk"
passes = [{ photo = "/rollcall/obama.jpg" }]
rate = 1
TOML
config stand auto <<<"$stand"
config chip gpiocdev <<<"$stand"

echo 'export ROLLCALL_LITERT=/rollcall/libLiteRt.so ROLLCALL_MODELS=/rollcall/models' >"$work/initramfs/settings"
initramfs "$cache/busybox-arm64/bin/busybox" "$lab/pi-guest"

# The Pi

: >"$said"
qemu-system-aarch64 -M raspi3b -accel tcg,thread=multi -m 1G -display none -no-reboot \
  -serial null -serial "file:$said" -qmp "unix:$work/qmp,server=on,wait=off" \
  -kernel "$vmlinuz" -dtb "$(compgen -G "$tree/usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")" \
  -initrd "$work/initramfs.cpio" -append "console=ttyS1,115200 panic=-1 iomem=relaxed quiet loglevel=1" &
qemu=$!
until [[ -S $work/qmp ]]; do sleep 0.1; done
/usr/bin/python3 "$lab/pins.py" "$work/qmp" >"$work/pins" &
watcher=$!

ok() { echo "ok - $*"; }
not_ok() { keep=1; echo "not ok - $1: $2"; }
s() { printf '%d.%02d' $(($1 / 1000)) $(($1 % 1000 / 10)); }
level() { awk -v pin="$1" '$2 == pin { level = $3 } END { print level + 0 }' "$work/pins"; }
# high PIN FROM: when it went high for the first time since then, and when low again; in ms
high() {
  awk -v pin="$1" -v from="$2" '$2 == pin && $1 >= from {
    if ($3) on = $1; else if (on) { print on, $1; exit }
  }' "$work/pins"
}
pulse() { # pulse WHAT PIN FROM SHORTEST LONGEST
  local on off
  read -r on off < <(high "$2" "$3") || { not_ok "$1" "it never was both on and off"; return; }
  if ((off - on >= $4 && off - on <= $5)); then ok "$1 for $(s $((off - on))) s"
  else not_ok "$1" "for $(s $((off - on))) s"
  fi
}

relay=23 green=17
while read -r event first second; do
  now=$((${EPOCHREALTIME/./} / 1000))
  case $event in
  clock) [[ $first == 1970 ]] && ok "the clock was never set ($first)" || not_ok "the clock was never set" "$first" ;;
  left)
    sleep 0.3
    (($(level $relay))) || not_ok "a pin that is left on is seen from outside" "it is off" ;;
  starting) run=$first from=$now killed='' ;;
  started)
    what="$run: ${first:-no} backend; the relay is off after the start"
    [[ $run != walk ]] || what+=", though it was left on"
    wanted='backend="rppal"'
    [[ $run != chip ]] || wanted='backend="gpiocdev"'
    if [[ $first != "$wanted" ]]; then not_ok "$what" "it is not $wanted"
    elif (($(level $relay))); then not_ok "$what" "it is on"
    else ok "$what"
    fi
    from=$now ;;
  punched) ok "$run: somebody is recognised, punch $first, $(s $((now - from))) s after the start" ;;
  killed) killed=$now ;;
  ended)
    if [[ $killed ]]; then
      if read -r on off < <(high $relay "$from") && ((off - killed <= 1000 && !$(level $relay))); then
        ok "$run: killed in mid-pulse ($(s $((killed - on))) s after its begin), the relay is off $((off - killed)) ms later"
      else
        not_ok "$run: killed in mid-pulse, the relay is off within 1 s" "it is $(level $relay)"
      fi
    else
      pulse "$run: the relay is on" $relay "$from" 2500 3700
      pulse "$run: the green light is on" $green "$from" 700 1500
    fi ;;
  frames) ((first > 0)) && say "a frame with a face takes $(s $((second * 10 / first))) s, emulated" ;;
  failed) fail "the guest failed: $(tail -n 3 "$said" | paste -sd '|')" ;;
  '[') [[ $second != *panic* ]] || fail "the guest's kernel: $second" ;;
  "done") break ;;
  esac
done < <(timeout 280 tail -f -n +1 --pid="$qemu" "$said")
[[ ${event-} == "done" ]] || fail "the guest did not come to an end"
[[ ! $keep ]] || say "what there is to see is in $work (said has the logs)"

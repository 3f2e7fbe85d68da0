#!/usr/bin/env bash
# Cuts the power of a terminal again and again while punches are appended to its outbox, and proves
# that no punch is missing that was acknowledged before a cut.
#
# The terminal is a QEMU guest with Debian's kernel and an ext4 disk. Killing QEMU takes the guest's
# page cache with it, as a power cut does. What the guest wrote to its disk but didn't flush is at
# risk too: a real disk or SD card has a cache of its own. QEMU can't act that out, as with each of
# its cache modes a write is safe from QEMU's own death once made (in the host's page cache, or in
# the image). So the guest's disk is disk.py: it holds writes in memory until the guest flushes, and
# at a cut drops some of what it holds. QEMU's cache=writeback tells the guest that it must flush.
set -euo pipefail

usage="usage: tests/lab/power.sh [--no-sync] [--seed N] [--per-disk N] [CUTS]

Cuts the power CUTS times (50) and checks that the outbox still holds every acknowledged punch.
  --no-sync      let the outbox skip its sync: then this test must fail
  --seed N       makes the moments of the cuts and what the disk loses (not what the guest does
                 until then) those of an earlier run
  --per-disk N   start a new disk after N cuts (25), after a last check of the old one
ROLLCALL_OUTBOX_WRITER is the program to run, else target/release/examples/outbox."

cuts=50 per_disk=25 options='' seed=$((RANDOM + 1))
number() { [[ $1 =~ ^[1-9][0-9]{0,5}$ ]] || { echo "power: '$1' is no number (try --help)" >&2; exit 2; }; }
while (($#)); do
  case $1 in
  -h | --help) echo "$usage"; exit ;;
  --no-sync) options=--no-sync ;;
  --seed) number "${2-}"; seed=$2; shift ;;
  --per-disk) number "${2-}"; per_disk=$2; shift ;;
  -*) echo "power: unknown option '$1' (try --help)" >&2; exit 2 ;;
  *) number "$1"; cuts=$1 ;;
  esac
  shift
done

# What it takes

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=power
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
writer=${ROLLCALL_OUTBOX_WRITER:-$root/target/release/examples/outbox}
[[ -x $writer ]] || {
  echo "power: no program at $writer; build it with: cargo build --release -p bench --features system --example outbox" >&2
  exit 2
}
[[ $(uname -m) == x86_64 ]] || skip "the guest is an x86-64 machine, this one is not"
need qemu-system-x86_64=qemu-system-x86 cpio=cpio modprobe=kmod mke2fs=e2fsprogs python3=python3
fetch busybox-amd64 amd64 busybox-static
kernel amd64

drive=''
power_off() { # then waits until the disk has settled
  pull_the_plug
  [[ -z $drive ]] || wait "$drive"
  drive=''
}
clean() { [[ -z $drive ]] || kill "$drive" 2>/dev/null || true; }

# The program is copied: it stays the same if someone builds meanwhile.
cp "$writer" "$work/outbox"
mkdir "$work/initramfs"
printf 'program=%q\noptions=%q\n' "$work/outbox" "$options" >"$work/initramfs/settings"
initramfs "$cache/busybox-amd64/bin/busybox" "$lab/power-guest" \
  virtio_pci virtio_blk virtio_console ext4 9p 9pnet_virtio

# The rounds

cut=0 acknowledged=0 boots=0 mode='write' started=$SECONDS

new_disk() {
  rm -f "$work/disk"
  truncate -s 256M "$work/disk"
  # Of 4 KiB blocks, as on disks of the usual size; mke2fs gives so small a one smaller blocks.
  mke2fs -q -F -t ext4 -b 4096 "$work/disk" || fail "mke2fs failed"
  : >"$work/acknowledged"
}

boot() { # boot MODE PATTERN: starts the guest and waits for a line (see power-guest for the modes)
  rm -f "$work/socket"
  boots=$((boots + 1))
  python3 "$lab/disk.py" "$work/socket" "$work/disk" "$seed.$boots" &
  drive=$!
  until [[ -S $work/socket ]]; do
    kill -0 "$drive" 2>/dev/null || fail "disk.py ended"
    sleep 0.05
  done
  boot_x86 "mode=$1" -m 512M \
    -drive "file=nbd:unix:$work/socket,format=raw,if=none,id=disk,cache=writeback" \
    -device virtio-blk-pci,drive=disk,logical_block_size=4096,physical_block_size=4096
  await "$2" 180
}

# Whole lines of the kind $1, without the kind. One that the cut came into does not count.
lines() {
  if [[ $(tail -c 1 "$said") ]]; then sed '$d' "$said"; else cat "$said"; fi |
    sed -n "s/^$1 //p"
}

summary() {
  printf '{"cuts":%d,"acknowledged":%d,"missing":%d,"boots":%d,"boots_s":%d,"seed":%d}\n' \
    "$cut" "$acknowledged" "$1" "$boots" $((SECONDS - started)) "$seed"
}

check() { # what the outbox held when the guest started, against all that was acknowledged before
  lines held | cut -d ' ' -f 2 | sort >"$work/held"
  local missing
  missing=$(sort "$work/acknowledged" | comm -23 - "$work/held" | wc -l)
  if ((missing)); then
    keep=1
    echo "power: $missing acknowledged punches are missing$(lines failed | sed 's/^/: /');" \
      "the disk, and what the guest said, are in $work" >&2
    summary "$missing"
    exit 1
  fi
  [[ $(lines end) == "$(wc -l <"$work/held")" ]] || fail "list did not end well: $(lines failed)"
}

echo "power: $cuts cuts, seed $seed, kernel $release"
RANDOM=$seed
for ((round = 1; round <= cuts; round++)); do
  [[ $mode != write ]] || new_disk
  boot "$mode" 'durable '
  after=$((300 + RANDOM % 3701)) # ms
  sleep "$((after / 1000)).$(printf %03d $((after % 1000)))"
  power_off
  cut=$round
  [[ $mode == write ]] || check
  [[ -z $(lines failed) ]] || fail "$(lines failed)"
  lines durable | cut -d ' ' -f 2 >"$work/new"
  cat "$work/new" >>"$work/acknowledged"
  new=$(wc -l <"$work/new")
  acknowledged=$((acknowledged + new))
  echo "power: cut $cut: $new punches acknowledged; the first $after ms before it"
  mode='both'
  if ((cut % per_disk == 0 || cut == cuts)); then
    boot list listed
    power_off
    check
    mode='write'
  fi
done
summary 0

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

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
writer=${ROLLCALL_OUTBOX_WRITER:-$lab/../../target/release/examples/outbox}
[[ -x $writer ]] || {
  echo "power: no program at $writer; build it with: cargo build --release -p edge --example outbox" >&2
  exit 2
}
skip() { echo "power: skipped: $*"; exit 0; }
have() { command -v "$1" >/dev/null; }
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin # mke2fs, depmod and modprobe are there

# What it takes

[[ $(uname -m) == x86_64 ]] || skip "the guest is an x86-64 machine, this one is not"
missing() {
  have qemu-system-x86_64 || echo qemu-system-x86
  # The guest has no libraries for busybox: it takes a static one.
  { have busybox && ! ldd "$(command -v busybox)" >/dev/null 2>&1; } || echo busybox-static
  have cpio || echo cpio
  have modprobe || echo kmod
  have mke2fs || echo e2fsprogs
  have python3 || echo python3
}
as_root() {
  if ((EUID == 0)); then "$@"
  elif have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then sudo "$@"
  else return 1
  fi
}
packages=$(missing | paste -sd ' ')
if [[ $packages ]]; then
  have apt-get || skip "no apt here; install the equivalent of these Debian packages: $packages"
  echo "power: installing $packages"
  # shellcheck disable=SC2086 # several packages
  { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends $packages; } >/dev/null 2>&1 ||
    skip "apt failed; as root, try: apt-get install --no-install-recommends $packages"
  packages=$(missing | paste -sd ' ')
  [[ -z $packages ]] || skip "still not found after installing: $packages"
fi

# Debian's kernel stays in the cache, unpacked.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rollcall/lab
kernel() { compgen -G "$cache/linux-image-*/boot/vmlinuz-*" | sort -V | tail -n 1; }
fetch() {
  image=$(apt-cache depends linux-image-amd64 | grep -om1 'linux-image-[0-9].*-amd64') &&
    (cd "$fresh" && apt-get download "$image") && dpkg -x "$fresh"/*.deb "$fresh/$image" &&
    depmod -b "$fresh/$image" "$(basename "$fresh/$image/lib/modules/"*)"
} >/dev/null 2>&1
if [[ -z $(kernel) ]]; then
  have apt-get || skip "no apt to fetch Debian's kernel with"
  echo "power: fetching Debian's kernel"
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/.fetch.XXXXXX")
  # Tried twice: old lists name a kernel that is no longer there.
  fetch || { as_root apt-get update >/dev/null 2>&1 && fetch; } || {
    rm -rf "$fresh"
    skip "apt could not fetch linux-image-amd64"
  }
  mv "$fresh/$image" "$cache/" # all of it or nothing
  rm -rf "$fresh"
fi
vmlinuz=$(kernel)
release=${vmlinuz##*/vmlinuz-}

work=$(mktemp -d "${TMPDIR:-/tmp}/rollcall-power.XXXXXX")
qemu='' drive='' keep=''
power_off() { # kill -9, then wait until the disk has settled
  # Unless it is waited for here, bash has its own word to say about a killed job.
  [[ -z $qemu ]] || { kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null || true
  [[ -z $drive ]] || wait "$drive"
  qemu='' drive=''
}
clean() {
  [[ -z $qemu ]] || kill -9 "$qemu" 2>/dev/null || true
  [[ -z $drive ]] || kill "$drive" 2>/dev/null || true
  [[ $keep ]] || rm -rf "$work"
}
trap clean EXIT

# The initramfs. The program is copied: it stays the same if someone builds meanwhile.
cp "$writer" "$work/outbox"
mkdir -p "$work"/initramfs/{bin,dev,host}
cp "$(command -v busybox)" "$work/initramfs/bin/busybox"
install -m 755 "$lab/init" "$work/initramfs/init"
printf 'program=%q\noptions=%q\n' "$work/outbox" "$options" >"$work/initramfs/settings"
for module in virtio_pci virtio_blk virtio_console ext4 9p 9pnet_virtio; do
  modprobe -d "${vmlinuz%/boot/*}" -S "$release" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
while read -r module; do
  cp "$module" "$work/initramfs"
  echo "/${module##*/}"
done <"$work/modules" >"$work/initramfs/modules.order"
(cd "$work/initramfs" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) >"$work/initramfs.gz"

# The rounds

cut=0 acknowledged=0 boots=0 mode='write' said=$work/said started=$SECONDS

fail() {
  keep=1
  echo "power: boot $boots: $*; the disk, and what the guest said, are in $work" >&2
  exit 1
}

new_disk() {
  rm -f "$work/disk"
  truncate -s 256M "$work/disk"
  # Of 4 KiB blocks, as on disks of the usual size; mke2fs gives so small a one smaller blocks.
  mke2fs -q -F -t ext4 -b 4096 "$work/disk" || fail "mke2fs failed"
  : >"$work/acknowledged"
}

boot() { # boot MODE PATTERN: starts the guest and waits for a line (see init for the modes)
  rm -f "$work/socket"
  boots=$((boots + 1))
  python3 "$lab/disk.py" "$work/socket" "$work/disk" "$seed.$boots" &
  drive=$!
  until [[ -S $work/socket ]]; do
    kill -0 "$drive" 2>/dev/null || fail "disk.py ended"
    sleep 0.05
  done
  : >"$said"
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 512M -smp 2 -nodefaults -no-reboot \
    -display none -serial "file:$work/console" \
    -kernel "$vmlinuz" -initrd "$work/initramfs.gz" -append "console=ttyS0 panic=-1 quiet mode=$1" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -drive "file=nbd:unix:$work/socket,format=raw,if=none,id=disk,cache=writeback" \
    -device virtio-blk-pci,drive=disk,logical_block_size=4096,physical_block_size=4096 \
    -device virtio-serial-pci -chardev "file,id=said,path=$said" \
    -device virtserialport,chardev=said &
  qemu=$!
  local until=$((SECONDS + 180))
  until grep -qE "^($2|failed)" "$said"; do
    kill -0 "$qemu" 2>/dev/null || fail "QEMU ended"
    ((SECONDS < until)) || fail "the guest did not say '$2' within 180 s"
    sleep 0.1
  done
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

# shellcheck shell=bash
# What the scripts of this folder share: packages, Debian's kernels, initramfs, QEMU. To be sourced by a
# script that has set `lab` (this folder) and `suite` (its name in front of what it says).
# shellcheck disable=SC2034,SC2154 # variables of who sources it, and for them

export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin # depmod, modprobe and mke2fs are there
root=$(cd "$lab/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rollcall/lab # delete it for Debian's newest kernel

say() { echo "$suite: $*"; }
skip() { say "skipped: $*"; exit 0; }
# shellcheck source-path=SCRIPTDIR source=../../deploy/apt.sh
. "$root/deploy/apt.sh"

# A folder of the run's own. It stays when `keep` is set. Whoever starts other programs than QEMU ends
# them in a `clean` of its own.
work=$(mktemp -d "${TMPDIR:-/tmp}/rollcall-$suite.XXXXXX")
qemu='' keep=''
clean() { :; }
trap 'pull_the_plug; clean; [[ $keep ]] || rm -rf "$work"; rm -rf "$cache"/.fetch.$$.*' EXIT
trap 'exit 130' INT TERM

fail() {
  keep=1
  echo "$suite: $*; what there is to see is in $work" >&2
  exit 1
}

# need WHAT=PACKAGE...: installs the packages of which WHAT, a command or a file, is missing.
need() {
  local packages
  missing() {
    local each
    for each; do
      have "${each%=*}" || [[ -e ${each%=*} ]] || echo "${each#*=}"
    done | sort -u | paste -sd ' '
  }
  packages=$(missing "$@")
  [[ $packages ]] || return 0
  have apt-get || skip "no apt here; install the equivalent of these Debian packages: $packages"
  say "installing $packages"
  # shellcheck disable=SC2086 # several packages
  { as_root apt-get update || true; as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
    --no-install-recommends -o DPkg::Lock::Timeout=120 $packages; } >/dev/null 2>&1 ||
    skip "apt failed; as root, try: apt-get install --no-install-recommends $packages"
  packages=$(missing "$@")
  [[ -z $packages ]] || skip "still not found after installing: $packages"
}

# fetch FOLDER ARCH PACKAGE...: unpacks packages of Debian's ARCH into FOLDER of the cache, unless it is
# there. RELEASE and COMMON in a package's name stand for those of the newest kernel (6.1.0-56-amd64,
# 6.1.0-56-common). Nothing is installed, and it takes no root: apt is given lists of its own.
fetch() {
  local folder=$cache/$1 arch=$2 fresh release
  shift 2
  [[ ! -d $folder ]] || return 0
  have apt-get || skip "no apt to fetch Debian packages with: $*"
  say "fetching Debian's ${folder##*/}"
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/.fetch.$$.XXXXXX")
  if ! (
    cd "$fresh"
    own_lists "$fresh" "$arch"
    apt-get update || true # somebody else's source may be out of order
    if [[ $* == *RELEASE* ]]; then
      release=$(apt-cache depends "linux-image-$arch" | grep -om1 'linux-image-[0-9].*')
      release=${release#linux-image-}
      set -- "${@//RELEASE/$release}"
      set -- "${@//COMMON/${release%-*}-common}"
    fi
    apt-get download "$@" && for each in *.deb; do dpkg -x "$each" tree || exit; done
  ) >"$fresh/log" 2>&1; then
    skip "apt could not fetch $*: $(tail -n 1 "$fresh/log")"
  fi
  mv "$fresh/tree" "$folder" # all of it or nothing
  rm -rf "$fresh"
}

# kernel ARCH: Debian's kernel of that architecture, in `tree`; its file in `vmlinuz`, its name in `release`.
kernel() {
  tree=$cache/linux-$1
  if [[ $1 == amd64 ]]; then # modules are built for this one
    fetch "linux-$1" "$1" linux-image-RELEASE linux-headers-{RELEASE,COMMON} linux-kbuild-6.1
  else
    fetch "linux-$1" "$1" linux-image-RELEASE
  fi
  vmlinuz=$(compgen -G "$tree/boot/vmlinuz-*")
  release=${vmlinuz##*/vmlinuz-}
  [[ -e $tree/lib/modules/$release/modules.dep.bin ]] || depmod -b "$tree" "$release"
}

# initramfs BUSYBOX GUEST MODULE...: packs the guest's first files into $work/initramfs.cpio: busybox, init, which loads
# the modules and whatever they depend on, and the script GUEST, which goes on from there. What else is to be
# in it lies in $work/initramfs.
initramfs() {
  local busybox=$1 guest=$2 module
  shift 2
  mkdir -p "$work"/initramfs/{bin,dev,proc,sys,tmp,host}
  cp "$busybox" "$work/initramfs/bin/busybox"
  install -m 755 "$lab/init" "$work/initramfs/init"
  cp "$guest" "$work/initramfs/guest"
  for module; do modprobe -d "$tree" -S "$release" --show-depends "$module"; done |
    awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
  while read -r module; do
    cp "$module" "$work/initramfs"
    echo "/${module##*/}"
  done <"$work/modules" >"$work/initramfs/modules.order"
  (cd "$work/initramfs" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/initramfs.cpio"
}

# boot_x86 COMMANDLINE ARGUMENT...: starts an x86-64 guest that has the host's files over 9p, read-only. It
# says what it has to say through a port of its own, which kernel messages can't get into, into $said.
said=$work/said
boot_x86() {
  local line=$1
  shift
  : >"$said"
  qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -nodefaults -no-reboot \
    -display none -serial "file:$work/console" \
    -kernel "$vmlinuz" -initrd "$work/initramfs.cpio" -append "console=ttyS0 panic=-1 quiet $line" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -device virtio-serial-pci -chardev "file,id=said,path=$said" \
    -device virtserialport,chardev=said "$@" &
  qemu=$!
}

# await PATTERN SECONDS: waits until the guest says a line that begins so, or that it failed.
await() {
  local until=$((SECONDS + $2))
  until grep -qE "^($1|failed)" "$said"; do
    kill -0 "$qemu" 2>/dev/null || fail "QEMU ended"
    ((SECONDS < until)) || fail "the guest did not say '$1' within $2 s"
    sleep 0.1
  done
}

pull_the_plug() { # kill -9
  # Unless it is waited for here, bash has its own word to say about a killed job.
  [[ -z $qemu ]] || { kill -9 "$qemu" && wait "$qemu"; } 2>/dev/null || true
  qemu=''
}

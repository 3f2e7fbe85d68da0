#!/usr/bin/env bash
# The package suite's side outside of its guest; see run.sh. It makes the Debian packages of the programs that
# were built, and those of a higher version; boots a Debian 12 with systemd, which has nothing of Rollcall, and
# passes on what the suite in there (package-suite) says. Packages of 64-bit ARM are unpacked and started under
# qemu-user.
set -euo pipefail

case ${1-} in
'') ;;
-h | --help)
  echo "usage: tests/lab/package.sh    installs, upgrades, removes and purges the packages in a guest; see run.sh --help"
  exit ;;
*) echo "package: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=package
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
# shellcheck source-path=SCRIPTDIR source=hub.sh
. "$lab/hub.sh"

[[ $(uname -m) == x86_64 ]] || skip "the guest is an x86-64 machine, this one is not"
have cargo || PATH=$PATH:$HOME/.cargo/bin
have cargo || skip "cargo, which makes the packages, is missing; install Rust's stable toolchain with rustup"
need qemu-system-x86_64=qemu-system-x86 cpio=cpio modprobe=kmod mke2fs=e2fsprogs mmdebstrap=mmdebstrap \
  strip=binutils dpkg-deb=dpkg
fetch busybox-amd64 amd64 busybox-static
kernel amd64
binaries

# Debian as somebody has it before they install Rollcall. It takes what the packages depend on with it: the
# guest has no network.
image=$cache/debian-12-amd64.ext4
if [[ ! -e $image ]]; then
  say "making an image of Debian 12 (a minute or two)"
  fresh=$(mktemp -d "$cache/.fetch.$$.XXXXXX")
  { as_root mmdebstrap --quiet --variant=minbase --format=directory \
    --include=systemd-sysv,udev,dbus,kmod,adduser,procps,ca-certificates,postgresql \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm "$fresh/tree" && as_root mke2fs -q -F -t ext4 -d "$fresh/tree" "$fresh/image" 2G; } >"$fresh/log" 2>&1 || {
    sed 's/^/  /' "$fresh/log" | tail -n 5 >&2
    as_root rm -rf "$fresh"
    skip "mmdebstrap could not make an image"
  }
  as_root rm -rf "$fresh/tree"
  mv "$fresh/image" "$image"
  rm -rf "$fresh"
fi

version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
make_packages() { # make_packages FOLDER VERSION
  "$root/deploy/package.sh" --fast --programs "$work/bin" --output "$1" --version "$2" edge hub amd64 \
    >"$work/package.log" 2>&1 || { tail -n 5 "$work/package.log" >&2; fail "the packages can't be made"; }
}
make_packages "$work/debs" "$version"
make_packages "$work/next" "$version+1"
chmod -R a+rX "$work"

mkdir -p "$work/initramfs"
printf 'lab=%q settings=%q\n' "$lab" "debs=/host$work/debs next=/host$work/next version=$version+1 \
photos=/host$root/deploy/photos modules=/host$tree" >"$work/initramfs/settings"
initramfs "$cache/busybox-amd64/bin/busybox" "$lab/package-guest" \
  virtio_pci virtio_blk virtio_console ext4 crc32c_generic 9p 9pnet_virtio
boot_x86 'systemd.show_status=no' -m 2G -drive "file=$image,format=raw,if=none,id=disk,snapshot=on,cache=unsafe" \
  -device virtio-blk-pci,drive=disk

while read -r line; do
  case $line in
  done) break ;;
  failed*) fail "the guest $line" ;;
  *) echo "$line" ;;
  esac
done < <(timeout 540 tail -f -n +1 --pid="$qemu" "$said")
[[ ${line-} == "done" ]] || fail "the guest did not come to an end"
pull_the_plug

# Those of 64-bit ARM, where its programs were built.
arm=${ROLLCALL_BIN_ARM64:-$root/target/arm64/aarch64-unknown-linux-gnu/release}
for name in edge hub; do
  program=rollcall-$name what="the arm64 package of $program is unpacked and starts"
  if [[ ! -x $arm/$program ]]; then
    say "no $program in $arm (ROLLCALL_BIN_ARM64): its arm64 package is not tried; deploy/build-arm64.sh builds it"
    continue
  fi
  need qemu-aarch64-static=qemu-user-static aarch64-linux-gnu-strip=binutils-aarch64-linux-gnu \
    /usr/aarch64-linux-gnu/lib/libc.so.6=libc6-arm64-cross /usr/aarch64-linux-gnu/lib/libstdc++.so.6=libstdc++6-arm64-cross
  if "$root/deploy/package.sh" --fast --programs "$arm" --output "$work/arm64" "$name" arm64 >"$work/package.log" 2>&1 &&
    dpkg -x "$work/arm64/${program}_${version}_arm64.deb" "$work/tree-$name" &&
    [[ $(dpkg-deb --field "$work/arm64/${program}_${version}_arm64.deb" Architecture) == arm64 ]]; then
    emulated=(env -u ROLLCALL_LITERT -u ROLLCALL_MODELS qemu-aarch64-static -cpu cortex-a76 -L /usr/aarch64-linux-gnu
      "$(realpath "$work/tree-$name/usr/bin/$program")")
    config=$work/$name.toml
    if [[ $name == edge ]]; then
      printf 'state = "%s"\n[hub]\nhost = "localhost"\nca_sha256 = "%064d"\n[camera]\nkind = "v4l2"\n' "$work/state" 0
      printf 'device = "/dev/video0"\n[gallery]\nkey = "%s"\n[clock]\nsynchronised = "always"\n' "$work/state/roster.key"
    else
      printf 'state = "%s"\n' "$work/state"
    fi >"$config"
    if { "${emulated[@]}" --version && "${emulated[@]}" run --check-config --config "$config"; } >"$work/arm.log" 2>&1 &&
      grep -q "^$program [0-9]" "$work/arm.log"; then
      echo "ok - $what"
    else
      echo "not ok - $what: $(tail -n 2 "$work/arm.log" | tr '\n' ' ')"
    fi
  else
    echo "not ok - $what: $(tail -n 2 "$work/package.log" | tr '\n' ' ')"
  fi
done
[[ ! ${KEEP-} ]] || keep=1

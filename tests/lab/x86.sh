#!/usr/bin/env bash
# The x86 suite's side outside of its guest; see run.sh. It starts a hub, enrols somebody, boots the guest and
# passes on what the suite in there (x86-suite) says. A line "hub COMMAND..." is what the suite has the hub do.
set -euo pipefail

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=x86
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
# shellcheck source-path=SCRIPTDIR source=hub.sh
. "$lab/hub.sh"
# shellcheck source-path=SCRIPTDIR source=modules.sh
. "$lab/modules.sh"

[[ $(uname -m) == x86_64 ]] || skip "the guest is an x86-64 machine, this one is not"
pil=/usr/lib/python3/dist-packages/PIL/Image.py
need qemu-system-x86_64=qemu-system-x86 cpio=cpio modprobe=kmod curl=curl jq=jq v4l2-ctl=v4l-utils \
  gpioset=gpiod /usr/bin/python3=python3 $pil=python3-pil
fetch busybox-amd64 amd64 busybox-static
kernel amd64
extra_modules
binaries

clean() { stop_hub; }
start_hub 10.0.2.2 localhost
sign "$work/terminal"
mkdir "$work/scenes"
/usr/bin/python3 "$lab/faces.py" "$root/deploy/photos/obama.jpg" "$work/scenes"

mkdir "$work/initramfs"
cat >"$work/initramfs/settings" <<SETTINGS
lab=$lab
settings="bin=$work/bin lab=$lab scenes=$work/scenes tree=$tree release=$release mqtt=$mqtt https=$https \
  token=$token device=$device terminal=$work/terminal \
  ROLLCALL_LITERT=$ROLLCALL_LITERT ROLLCALL_MODELS=$ROLLCALL_MODELS PARTS=${PARTS-}"
SETTINGS
initramfs "$cache/busybox-amd64/bin/busybox" "$lab/x86-guest" \
  virtio_pci virtio_console virtio_net 9p 9pnet_virtio
boot_x86 '' -m 1G -rtc base=utc -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=

while read -r line; do
  case $line in
  "hub "*) read -ra command <<<"${line#hub }"; hub "${command[@]}" >>"$work/asked.log" 2>&1 || true ;;
  done) break ;;
  failed*) fail "the guest ${line}" ;;
  *)
    echo "$line"
    [[ $line != "not ok"* ]] || keep=1 ;;
  esac
done < <(timeout 280 tail -f -n +1 --pid="$qemu" "$said")
[[ ${line-} == "done" ]] || fail "the guest did not come to an end"
[[ ! $keep ]] || say "what there is to see is in $work (console has the logs)"

# shellcheck shell=bash
# Builds the modules that Debian's kernel (guest.sh) does not have, beside its own in the cache: v4l2loopback,
# a camera that shows what a program writes, and gpio-sim with irq_sim, a GPIO chip that a script holds the
# other end of. To be sourced.
# shellcheck disable=SC2154 # guest.sh's variables

extra_modules() {
  local into=$tree/lib/modules/$release/extra sources=$cache/modules-amd64 build=$work/modules-build
  [[ ! -d $into ]] || return 0
  need make=make gcc-12=gcc-12 xz=xz-utils /lib/x86_64-linux-gnu/libelf.so.1=libelf1
  fetch modules-amd64 amd64 v4l2loopback-dkms linux-source-6.1
  say "building v4l2loopback and gpio-sim"
  mkdir "$build"
  cp "$sources"/usr/src/v4l2loopback-*/{v4l2loopback.c,*.h} "$build"
  tar -xJf "$sources"/usr/src/linux-source-6.1.tar.xz -C "$build" --strip-components=3 \
    linux-source-6.1/{drivers/gpio/{gpio-sim.c,gpiolib.h},kernel/irq/irq_sim.c}
  # irq_sim belongs to the kernel itself; in a module it may use only what the kernel exports.
  sed -i 's/handle_simple_irq(irq_to_desc(irqnum));/generic_handle_irq_safe(irqnum);/; /^EXPORT_SYMBOL/d' \
    "$build/irq_sim.c"
  cat >"$build/Kbuild" <<'KBUILD'
obj-m := v4l2loopback.o gpio-sim-irq.o
gpio-sim-irq-y := gpio-sim.o irq_sim.o
KBUILD
  # The headers know themselves under /usr/src; here they are elsewhere.
  sed -i "s|include /usr/src|include $tree/usr/src|" "$tree/usr/src/linux-headers-$release/Makefile"
  make -s -C "$tree/usr/src/linux-headers-$release" M="$build" modules >"$work/modules.log" 2>&1 ||
    { tail -n 20 "$work/modules.log" >&2; fail "the modules do not build"; }
  mkdir "$into.new"
  cp "$build"/*.ko "$into.new"
  mv "$into.new" "$into"
  depmod -b "$tree" "$release"
  rm -rf "$sources"
}

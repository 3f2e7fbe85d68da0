#!/usr/bin/env bash
# The upgrade suite; see run.sh. A chroot of Debian 12 gets PostgreSQL 15 and a hub with the demonstration's data,
# becomes a Debian 13 as machines do (apt full-upgrade), and then its database moves from 15 to 17: refused,
# killed at bad moments, and done.
set -euo pipefail

case ${1-} in
'') ;;
-h | --help)
  echo "usage: tests/lab/upgrade.sh    Debian 12 to 13, PostgreSQL 15 to 17, in a chroot; see run.sh --help"
  exit ;;
*) echo "upgrade: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=upgrade
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
# shellcheck source-path=SCRIPTDIR source=chroot.sh
. "$lab/chroot.sh"

programs=${ROLLCALL_BIN:-$root/target/release}
for each in rollcall-hub rollcall-edge; do
  [[ -x $programs/$each ]] || skip "no $each in $programs (ROLLCALL_BIN): build it first"
done
"$root/models/fetch.sh"
"$root/deploy/photos.sh"

tree=$work/tree
say "a Debian 12 becomes a Debian 13 (some minutes)"
debian 12 "$tree"
install -D -t "$tree/usr/local/bin" "$programs"/rollcall-{hub,edge}
mkdir -p "$tree/srv"
cp -r "$root"/deploy/{apt.sh,packages.sh,photos} "$lab/upgrade-suite" "$tree/srv"
cp -r "$root/models/data" "$root/models/runtime/libLiteRt.so" "$tree/srv"
chmod -R a+rX "$tree/srv"
enter "$tree" env LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive ROLLCALL_LITERT=/srv/libLiteRt.so ROLLCALL_MODELS=/srv/data \
  bash /srv/upgrade-suite </dev/null 2>"$work/log" || { tail -n 20 "$work/log" >&2; fail "the suite did not come to an end"; }
[[ ! ${KEEP-} ]] || keep=1

#!/usr/bin/env bash
# Tries what README's "Try it" says on machines as they are on their first day: makes a chroot of each Debian,
# clones the checkout into it (what is committed), and runs the demonstration and its test in there to their
# end. It has what mmdebstrap calls minbase, certificates, and rustup's toolchain, which is this machine's. All
# mounts and processes are in namespaces of their own, so nothing of them is left.
set -euo pipefail

usage="usage: tests/lab/distros.sh [OPTION...] [12|13]...    Debian 13 and 12 where none is named

  --set-up-only       end before the build: packages, downloads, and a PostgreSQL that starts
  --programs FOLDER   build nothing: run the demonstration with the programs in this folder

One line of JSON for each Debian, with seconds of set-up, demonstration (with its build) and test. Root alone may do
this. A cold build takes some 4 GB and a quarter of an hour of two cores. What was said stands in a log beside."

programs='' only='' versions=()
while (($#)); do
  case $1 in
  -h | --help) echo "$usage"; exit ;;
  --set-up-only) only=1 ;;
  --programs) programs=$(cd "${2-}" && pwd); shift ;;
  12 | 13) versions+=("$1") ;;
  *) echo "distros: what is '$1'? (try --help)" >&2; exit 2 ;;
  esac
  shift
done
((${#versions[@]})) || versions=(13 12)

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) suite=distros
# shellcheck source-path=SCRIPTDIR source=guest.sh
. "$lab/guest.sh"
# shellcheck source-path=SCRIPTDIR source=chroot.sh
. "$lab/chroot.sh"

# What the chroot does. The last lines are what was measured: NAME VALUE.
inside=$(
  cat <<'INSIDE'
set -euo pipefail
cd /root/rollcall
timed() { # timed NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  echo "== $*"
  "$@" || { echo "== $1 failed"; exit 1; }
  echo "$name $((SECONDS - start))" >>/root/measured
}
set_up() { deploy/setup.sh && models/fetch.sh && deploy/photos.sh && tests/setup.sh && tests/smtp/fetch.sh; }
timed setup_s set_up
pg=$(ls -d /usr/lib/postgresql/*/bin)
"$pg/postgres" --version | sed 's/.* \([0-9][0-9.]*\).*/postgresql \1/' >>/root/measured
postgres() (
  cd / && install -d -o postgres /run/try
  runuser -u postgres -- "$pg/initdb" -D /run/try/data --locale=C.UTF-8 --auth=trust >/dev/null
  runuser -u postgres -- "$pg/pg_ctl" start -s -w -D /run/try/data -l /run/try/log -o '-k /run/try -c listen_addresses='
  runuser -u postgres -- "$pg/psql" -h /run/try -Atc 'select version()'
  runuser -u postgres -- "$pg/pg_ctl" stop -s -D /run/try/data
)
timed postgresql_s postgres
if [[ $programs ]]; then
  export ROLLCALL_LITERT=/root/rollcall/models/runtime/libLiteRt.so ROLLCALL_MODELS=/root/rollcall/models/data
  timed demo_s /root/programs/rollcall-hub demo --once --photos deploy/photos
elif [[ ! $only ]]; then
  timed demo_s ./deploy/demo.sh --once
  timed tests_s ./tests/run.sh demo
fi
INSIDE
)

try_debian() { # try_debian VERSION: one line of JSON
  local tree=$work/debian-$1 log=$work/debian-$1.log ok=true numbers
  debian "$1" "$tree"
  git clone --quiet --no-hardlinks "$root" "$tree/root/rollcall"
  if [[ $programs ]]; then
    install -D -t "$tree/root/programs" "$programs"/rollcall-{hub,edge}
  fi
  say "Debian $1: what it says is in $log" >&2
  touch "$tree/root/measured"
  enter "$tree" env only="$only" programs="$programs" bash -c "$inside" >"$log" 2>&1 </dev/null || ok=false
  numbers=$(sed 's/\(.*\) \(.*\)/"\1":\2/; s/\("postgresql":\)\(.*\)/\1"\2"/' "$tree/root/measured" | paste -sd ,)
  printf '{"distro":"debian-%s",%s"ok":%s}\n' "$1" "${numbers:+$numbers,}" "$ok"
  $ok || { failed=1 && tail -n 20 "$log" >&2; }
  rm -rf "$tree"
}

keep=1 # the logs
failed=''
for version in "${versions[@]}"; do try_debian "$version"; done
[[ ! $failed ]]

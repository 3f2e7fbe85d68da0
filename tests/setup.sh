#!/usr/bin/env bash
# Installs what tests alone need and is missing: Mosquitto, the MQTT broker that some run, libfaketime,
# which gives a program another clock, and LibreOffice Calc (without a screen; 280 MB), which adds up the
# reports. From Debian or Ubuntu, through apt, as root or with sudo.
# Tests start brokers of their own: the machine's service is neither started nor enabled. When
# nothing is missing it looks, says nothing and calls nothing.
set -euo pipefail

case "${1-}" in
'') ;;
-h | --help)
  echo "usage: tests/setup.sh    installs Mosquitto, libfaketime and LibreOffice Calc where missing; takes no options"
  exit ;;
*) echo "setup: unknown option '$1' (try --help)" >&2; exit 2 ;;
esac

has_mosquitto() { # where tests/src/mosquitto.rs looks
  [[ -x /usr/sbin/mosquitto ]] && compgen -G '/usr/lib/*/mosquitto_dynamic_security.so' >/dev/null
}

has_faketime() { # where tests/tests/clock.rs looks
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null
}

has_calc() { # tests/tests/reports.rs calls it
  command -v soffice >/dev/null
}

has_mosquitto && has_faketime && has_calc && exit

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")/../deploy" && pwd)
# shellcheck source-path=SCRIPTDIR source=../deploy/apt.sh
. "$deploy/apt.sh"
# shellcheck source-path=SCRIPTDIR source=../deploy/packages.sh
. "$deploy/packages.sh"

# Debian starts a service as it installs it, unless this says no. A machine that has one keeps it.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]] && as_root true; then
  trap 'as_root rm -f "$policy"' EXIT
  as_root install -m 0755 /dev/stdin "$policy" <<'POLICY'
#!/bin/sh
case "$1" in mosquitto*) exit 101 ;; esac
POLICY
fi

needs=()
has_mosquitto || needs+=(mosquitto)
has_faketime || needs+=(faketime)
has_calc || needs+=(calc)
mapfile -t names < <(packages "${needs[@]}")
install_packages setup "${names[@]}"
if [[ " ${needs[*]} " == *' mosquitto '* ]]; then
  as_root update-rc.d mosquitto disable >/dev/null
fi

{ has_mosquitto && has_faketime && has_calc; } || {
  echo "setup: still not found after installing: see tests/setup.sh for where it looks" >&2
  exit 1
}

#!/usr/bin/env bash
# Installs what tests alone need and is missing: Mosquitto, the MQTT broker that some run, libfaketime,
# which gives a terminal another clock, and LibreOffice Calc (without a screen; 280 MB), which adds up the
# reports. From Debian, through apt, as root or with sudo.
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

if ((EUID == 0)); then
  root=()
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
  root=(sudo)
else
  echo "setup: missing packages; as root: apt-get install --no-install-recommends mosquitto libfaketime libreoffice-calc-nogui" >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  echo "setup: no apt here; install Mosquitto 2 with its dynamic security plugin, libfaketime and LibreOffice Calc" >&2
  exit 1
fi

# Debian starts a service as it installs it, unless this says no. A machine that has one keeps it.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap '"${root[@]}" rm -f "$policy"' EXIT
  "${root[@]}" install -m 0755 /dev/stdin "$policy" <<'POLICY'
#!/bin/sh
case "$1" in mosquitto*) exit 101 ;; esac
POLICY
fi

packages=(mosquitto libfaketime)
has_calc || packages+=(libreoffice-calc-nogui)
echo "setup: installing ${packages[*]}"
# apt's chatter is only worth reading when it fails.
log=$("${root[@]}" apt-get update 2>&1 &&
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold "${packages[@]}" 2>&1 &&
  "${root[@]}" update-rc.d mosquitto disable 2>&1) || {
  echo "$log" >&2
  echo "setup: apt failed (its output is above); mend that and run tests/setup.sh again" >&2
  exit 1
}

{ has_mosquitto && has_faketime && has_calc; } || {
  echo "setup: still not found after installing: see tests/setup.sh for where it looks" >&2
  exit 1
}

#!/usr/bin/env bash
# What this machine's distribution calls the packages that Rollcall is built, run and tested with: the one
# place with these names. Run it to see them; scripts source it.
set -euo pipefail

# distribution: such as debian-13 or ubuntu-24.04; derivatives have names of their own. OS_RELEASE: another file.
distribution() (
  ID='' VERSION_ID=''
  # shellcheck source=/dev/null
  . "${OS_RELEASE:-/etc/os-release}" 2>/dev/null || :
  echo "$ID-$VERSION_ID"
)

# packages NEED...: the names of the packages for these needs, one a line.
packages() {
  local need
  for need; do
    case $need in
    compiler) printf '%s\n' gcc libc6-dev ;;
    make | python3) echo "$need" ;;
    libclang) echo libclang-dev ;;
    pip) echo python3-pip ;;
    mosquitto) echo mosquitto ;;
    faketime) echo libfaketime ;;
    calc) echo libreoffice-calc-nogui ;;
    # By its version: PostgreSQL's own package would bring the next one with the distribution's upgrade.
    postgresql)
      case $(distribution) in
      debian-12) echo postgresql-15 ;;
      debian-13) echo postgresql-17 ;;
      ubuntu-22.04) echo postgresql-14 ;;
      ubuntu-24.04) echo postgresql-16 ;;
      *) echo postgresql ;;
      esac ;;
    *) echo "packages: no need '$need' (try --help)" >&2; return 2 ;;
    esac
  done
}

building=(compiler make libclang postgresql python3 pip)
testing=(mosquitto faketime calc)

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  case ${1-} in
  -h | --help)
    echo "usage: deploy/packages.sh [NEED...]    prints the names of packages; without a NEED all of them"
    echo "needs: ${building[*]} (for building and running), ${testing[*]} (for tests)"
    exit ;;
  esac
  (($#)) || set -- "${building[@]}" "${testing[@]}"
  packages "$@"
fi

#!/usr/bin/env bash
# Does the API's document hold what it promises? A linter reads it, a generator makes a client of it that logs in, and
# schemathesis sends requests made of it to a real hub: none may end in a 500, or in a status that is not described.
set -euo pipefail

usage="usage: tests/lab/api.sh [EXAMPLES]

  EXAMPLES            requests of each operation and phase, at most (100)
  SEED                what they are made from (1)
  ROLLCALL_HUB        the program (target/release/rollcall-hub), built with hub/pdf
  ROLLCALL_API_TOOLS  where the tools are kept (a folder in the user's cache)

Takes some minutes, and needs curl, jq, openssl, Python 3, npm and the network the first time."
case ${1-} in -h | --help) echo "$usage"; exit ;; esac
examples=${1:-100}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
hub=$(realpath "${ROLLCALL_HUB:-${CARGO_TARGET_DIR:-$root/target}/release/rollcall-hub}")
tools=${ROLLCALL_API_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/rollcall-api-tools}
[[ -x $hub ]] || { echo "api: there is no $hub: cargo build --release --bins --features hub/pdf, or name it in ROLLCALL_HUB" >&2; exit 2; }
work=$(mktemp -d) && chmod 755 "$work" # PostgreSQL, which does not run as root, must reach its files
trap 'kill "${server:-}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

[[ -x $tools/v/bin/schemathesis ]] || { python3 -m venv "$tools/v" && "$tools/v/bin/pip" install -q schemathesis==4.* openapi-python-client==0.* ruff; }
[[ -x $tools/n/node_modules/.bin/spectral ]] || npm install --silent --prefix "$tools/n" @stoplight/spectral-cli@6
"$root/models/fetch.sh" >/dev/null
export ROLLCALL_LITERT=$root/models/runtime/libLiteRt.so ROLLCALL_MODELS=$root/models/data
cd "$work" # the tools leave files where they run

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) password='correct horse battery'
printf 'state = "%s/state"\nmqtt = "127.0.0.1:%s"\nhttps = "127.0.0.1:%s"\nzone = "Europe/Berlin"\n' "$work" "$(free)" "$port" >hub.toml
: >hub.out
"$hub" run --config hub.toml >hub.out 2>hub.log &
server=$!
for _ in {1..300}; do grep -q ^console hub.out && break; sleep 0.1; done
hub() { "$hub" "$@" --config hub.toml; }
hub person add 900 'Helen Haber' >/dev/null
hub account create helen --role admin --person 900 <<<"$password" >/dev/null
base=https://localhost:$port ca=$work/state/pki/ca.pem
curl -sS --cacert "$ca" "$base/api/v1/openapi.json" >openapi.json
failed=0
said() { # said TOOL STATUS: a line for who counts, and remembers
  echo "{\"tool\":\"$1\",\"ok\":$([[ $2 == 0 ]] && echo true || echo false)}"
  (($2 == 0)) || failed=1
}

echo 'extends: ["spectral:oas"]' >spectral.yaml
status=0
"$tools/n/node_modules/.bin/spectral" lint --fail-severity error -q -r spectral.yaml openapi.json >spectral.log || status=$?
tail -n 2 spectral.log
said spectral $status

status=0
(
  PATH=$tools/v/bin:$PATH
  openapi-python-client generate --path openapi.json --meta none --output-path rollcall_client >client.log 2>&1 ||
    { cat client.log; exit 1; }
  ! grep -i 'warning\|unable' client.log || { cat client.log; exit 1; }
  PYTHONPATH=$work "$tools/v/bin/python" "$root/tests/lab/api/log_in.py" "$base" "$ca" helen "$password" >token
) || status=$?
said openapi-python-client $status
((status == 0)) || { said schemathesis 1; exit 1; } # it has no session
token=$(cat token)

# What requests can name.
call() { # call METHOD PATH BODY
  curl -sS --fail-with-body --cacert "$ca" -X "$1" "$base/api/v1/$2" -H "Authorization: Bearer $token" --json "$3" -o answer ||
    { echo "api: $1 $2: $(cat answer)" >&2; exit 1; }
}
claim() { # claim CODE: a device asks to become a terminal; prints its id
  openssl ecparam -name prime256v1 -genkey -noout -out device.key
  local device
  device=$(openssl pkey -in device.key -pubout -outform DER | sha256sum | cut -c -32)
  openssl req -new -key device.key -subj "/CN=$device/O=$device" -out "$device.csr"
  call POST claims "$(jq -n --rawfile request "$device.csr" --arg code "$1" '{request: $request, code: $code}')"
  echo "$device"
}
hub person add 901 'Ada Example' >/dev/null
hub person add 902 'Bob Example' >/dev/null
hub person consent 901 >/dev/null
call PUT calendars/Feasts/holidays/2025-12-31 '{"name": "Last day"}'
call PUT sites/Hall '{"zone": "Europe/Berlin", "calendar": "Feasts"}'
call PUT shifts/Early '{"start": "06:00", "end": "14:00"}'
call PUT schedules/Week '{"anchor": "2025-03-03", "cycle_days": 1, "days": [["Early"]]}'
call PATCH people/901 '{"site": "Hall", "manager": "900"}'
call PUT people/901/schedule '{"schedule": "Week", "from": "2025-03-01"}'
call PUT people/902/leave '{"from": "2025-03-03", "to": "2025-03-04"}'
hub person add 903 'Hugo Haber' >/dev/null
hub account create hugo --role hr --person 903 <<<"$password" >/dev/null
hugo=$(curl -sSf --cacert "$ca" "$base/api/v1/sessions" --json "{\"name\": \"hugo\", \"password\": \"$password\"}" | jq -re .token)
for each in 901 902 902; do
  token=$hugo call POST corrections "{\"number\": \"$each\", \"date\": \"2025-03-03\", \"reason\": \"forgotten\",
    \"adds\": [{\"at\": \"2025-03-03T06:00:00+01:00\", \"direction\": \"in\"}]}"
done
call POST periods '{"site": "Hall", "from": "2025-03-01", "to": "2025-03-31"}'
terminal=$(claim ABCD2345)
waiting=$(claim WXYZ6789)
call POST "claims/$terminal/accept" '{"code": "ABCD2345", "name": "Door"}'
{
  cat "$root/tests/lab/api/schemathesis.toml"
  jq -nr --arg a "$terminal" --arg b "$waiting" '"devices.values = \([$a, $b] | tojson)"'
  jq -nr --rawfile a "$terminal.csr" --rawfile b "$waiting.csr" '"requests.values = \([$a, $b] | tojson)"'
} >schemathesis.toml

# Nothing is left out but the end of the session that it runs in.
status=0
"$tools/v/bin/schemathesis" run "$base/api/v1/openapi.json" --url "$base" --tls-verify "$ca" \
  -H "Authorization: Bearer $token" --exclude-operation-id log_out --max-examples "$examples" --seed "${SEED:-1}" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
  --suppress-health-check all --continue-on-failure >schemathesis.log 2>&1 || status=$?
# A run without a session would find nothing.
! grep -qE 'Authentication failed: ([2-9]|[1-9][0-9])' schemathesis.log || status=1
((status == 0)) && tail -n 25 schemathesis.log || cat schemathesis.log
! grep 'ERROR' hub.log >errors || { head -n 5 errors; status=1; }
said schemathesis $status
exit $failed

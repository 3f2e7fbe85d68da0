#!/usr/bin/env bash
# Does the API's document hold what it promises? A linter reads it, a generator makes a client of it that logs in, and
# schemathesis sends requests made of it to a real hub: none may end in a 500, or in a status that is not described.
set -euo pipefail

usage="usage: tests/lab/api.sh [EXAMPLES]

  EXAMPLES            requests of each operation and phase, at most (30)
  ROLLCALL_HUB        the program (target/release/rollcall-hub)
  ROLLCALL_API_TOOLS  where the tools are kept (a folder in the user's cache)

Takes five to ten minutes, and needs Python 3, npm and the network the first time."
case ${1-} in -h | --help) echo "$usage"; exit ;; esac
examples=${1:-30}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
hub=${ROLLCALL_HUB:-${CARGO_TARGET_DIR:-$root/target}/release/rollcall-hub}
tools=${ROLLCALL_API_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/rollcall-api-tools}
[[ -x $hub ]] || { echo "api: there is no $hub: cargo build --release --bins, or name it in ROLLCALL_HUB" >&2; exit 2; }
work=$(mktemp -d) && chmod 755 "$work" # PostgreSQL, which does not run as root, must reach its files
trap 'kill "${server:-}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

[[ -x $tools/v/bin/schemathesis ]] || { python3 -m venv "$tools/v" && "$tools/v/bin/pip" install -q schemathesis==4.* openapi-python-client==0.* ruff; }
[[ -x $tools/n/node_modules/.bin/spectral ]] || npm install --silent --prefix "$tools/n" @stoplight/spectral-cli@6

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free) password='correct horse battery'
printf 'state = "%s/state"\nmqtt = "127.0.0.1:%s"\nhttps = "127.0.0.1:%s"\nzone = "Europe/Berlin"\n' "$work" "$(free)" "$port" >"$work/hub.toml"
"$hub" run --config "$work/hub.toml" >"$work/hub.out" 2>"$work/hub.log" &
server=$!
for _ in {1..300}; do grep -q ^console "$work/hub.out" && break; sleep 0.1; done
hub() { "$hub" "$@" --config "$work/hub.toml"; }
hub person add 900 'Helen Haber' >/dev/null
echo "$password" | hub account create helen --role admin --person 900 >/dev/null
base=https://localhost:$port ca=$work/state/pki/ca.pem
curl -sS --cacert "$ca" "$base/api/v1/openapi.json" >"$work/openapi.json"
failed=0
said() { # said TOOL STATUS: a line for who counts, and remembers
  echo "{\"tool\":\"$1\",\"ok\":$([[ $2 == 0 ]] && echo true || echo false)}"
  (($2 == 0)) || failed=1
}

echo 'extends: ["spectral:oas"]' >"$work/spectral.yaml"
status=0
"$tools/n/node_modules/.bin/spectral" lint --fail-severity error -q -r "$work/spectral.yaml" "$work/openapi.json" || status=$?
said spectral $status

status=0
(
  cd "$work" && PATH=$tools/v/bin:$PATH
  "$tools/v/bin/openapi-python-client" generate --path openapi.json --meta none --output-path rollcall_client >client.log 2>&1 ||
    { cat client.log; exit 1; }
  ! grep -i 'warning\|unable' client.log || { cat client.log; exit 1; }
  PYTHONPATH=$work "$tools/v/bin/python" "$root/tests/lab/api/log_in.py" "$base" "$ca" helen "$password" >token
) || status=$?
said openapi-python-client $status

# Nothing is left out but the end of the session that it runs in.
status=0
(cd "$work" && "$tools/v/bin/schemathesis" run "$base/api/v1/openapi.json" --url "$base" --tls-verify "$ca" \
  -H "Authorization: Bearer $(cat "$work/token")" --exclude-operation-id log_out --max-examples "$examples" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --suppress-health-check all --continue-on-failure --seed 1 --report-dir "$work/report" >"$work/schemathesis.log" 2>&1) || status=$?
# A run without a session would find nothing.
! grep -q 'Authentication failed: [2-9]' "$work/schemathesis.log" || status=1
((status == 0)) && tail -n 25 "$work/schemathesis.log" || cat "$work/schemathesis.log"
! grep -q '"level":"ERROR"\| ERROR ' "$work/hub.log" || { grep -m 5 'ERROR' "$work/hub.log"; status=1; }
said schemathesis $status
exit $failed

#!/usr/bin/env bash
# Writes hub/.sqlx anew: what PostgreSQL says of every query, so that builds check them without a
# database; and the diagram of the schema in docs/develop/database.md. Run by hand after a query or a
# migration changed; needs the PostgreSQL server programs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
dir=$(mktemp -d /tmp/rollcall-prepare.XXXXXX)
as=()
if [ "$(id -u)" = 0 ]; then # PostgreSQL refuses to run as root
    chown postgres "$dir"
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
stop() { "${as[@]}" "$bin/pg_ctl" stop -s -m immediate -D "$dir/data" || true; rm -rf "$dir"; }
trap stop EXIT
(cd / && "${as[@]}" "$bin/initdb" -D "$dir/data" -U hub --auth=trust -E UTF8 --no-sync >/dev/null)
(cd / && "${as[@]}" "$bin/pg_ctl" start -s -w -D "$dir/data" -l "$dir/log" \
    -o "-c listen_addresses= -c unix_socket_directories=$dir -c unix_socket_permissions=0777 -c fsync=off")
chmod 0755 "$dir"
for migration in hub/migrations/*.sql; do
    sed 's/nulls not distinct //' "$migration" | # as hub/src/db.rs does, for PostgreSQL 14
        "$bin/psql" -q -v ON_ERROR_STOP=1 -h "$dir" -U hub -d postgres
done
document=docs/develop/database.md
diagram=$("$bin/psql" -qAt -v ON_ERROR_STOP=1 -h "$dir" -U hub -d postgres -f hub/er.sql)
{
    sed '/^```mermaid$/,$d' "$document"
    printf '```mermaid\n%s\n```\n' "$diagram"
} >"$dir/document"
cat "$dir/document" >"$document"
rm -rf hub/.sqlx && mkdir hub/.sqlx
touch hub/src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$PWD/hub/.sqlx" \
    DATABASE_URL="postgres://hub@localhost/postgres?host=$dir" cargo check -p hub --all-targets "$@"

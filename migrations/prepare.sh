#!/bin/sh
# Regenerates .sqlx, the metadata that the queries are checked against at compile time.
#
#   migrations/prepare.sh           after a change of a query or a migration
#   migrations/prepare.sh --check   fails when .sqlx is not what the queries and migrations say
#
# Needs sqlite3 or python3. CARGO names the cargo to use.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM
fresh="$scratch/sqlx"
database="$scratch/store.db"
mkdir "$fresh"

for migration in migrations/sqlite/*.sql; do
    if command -v sqlite3 >/dev/null; then
        sqlite3 -bail "$database" <"$migration"
    elif command -v python3 >/dev/null; then
        python3 -c 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())' \
            "$database" "$migration"
    else
        echo "prepare.sh: needs sqlite3 or python3 to make a database from migrations/sqlite" >&2
        exit 2
    fi
done

# The macros write what they learn only while they run, so the crate must be compiled anew.
touch src/store.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$fresh" DATABASE_URL="sqlite://$database" "${CARGO:-cargo}" check --lib --quiet

if [ "${1:-}" = --check ]; then
    diff -r .sqlx "$fresh" || {
        echo "prepare.sh: .sqlx is out of date: run migrations/prepare.sh and commit what it writes" >&2
        exit 1
    }
else
    rm -rf .sqlx
    mv "$fresh" .sqlx
    echo "prepare.sh: $(find .sqlx -name 'query-*.json' | wc -l) queries"
fi

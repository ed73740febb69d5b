#!/usr/bin/env bash
# Tries the simulated world with the official clients of OpenAI (Python, Node) and Anthropic (Python).
#
# Usage: tests/clients/run.sh [WHETSTONE]     the binary; target/debug/whetstone when absent
#
# Needs python3 with venv, node 20 or later, npm, and on the first run the package registries.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/clients
whetstone=${1:-$root/target/debug/whetstone}
place=$root/target/clients
openai_python=3.54.0 anthropic_python=2.12.0 openai_node=7.57.0

for program in python3 node npm; do
    command -v "$program" >/dev/null || { echo "$program is missing: install it to try the official clients" >&2; exit 2; }
done
[ -x "$whetstone" ] || { echo "$whetstone is missing: run cargo build, or name the binary as an argument" >&2; exit 2; }

mkdir -p "$place"
wanted="openai==$openai_python anthropic==$anthropic_python openai@$openai_node"
if [ "$(cat "$place/installed" 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet "openai==$openai_python" "anthropic==$anthropic_python"
    npm install --silent --no-audit --no-fund --prefix "$place" "openai@$openai_node"
    echo "$wanted" >"$place/installed"
fi

servers=()
stop() {
    for server in "${servers[@]}"; do kill "$server" 2>/dev/null || true; done
}
trap stop EXIT

# Starts a simulator for a world and puts its base URL into `url`.
start() {
    local output=$place/$1.out
    : >"$output"
    "$whetstone" simulate --world "$here/$1.yaml" --listen 127.0.0.1:0 >"$output" 2>&1 &
    servers+=($!)
    for _ in $(seq 100); do
        url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$output")
        [ -n "$url" ] && return
        kill -0 $! 2>/dev/null || break
        sleep 0.1
    done
    echo "the simulator did not start:" >&2
    cat "$output" >&2
    exit 1
}

urls=()
for world in world faults broken; do
    start "$world"
    urls+=("$url")
done

status=0
echo -n "python: "
"$place/venv/bin/python" "$here/python_client.py" "${urls[@]}" || status=1
echo -n "node: "
NODE_CLIENT_MODULES=$place node "$here/node_client.mjs" "${urls[@]}" || status=1
exit $status

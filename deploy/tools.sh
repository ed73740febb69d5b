# Sourced by the scripts of this folder, in it: finds a Go tool on the PATH or under target/tools, or installs it there.
# The versions are those that the output in Git was made and checked with.
tools=${WHETSTONE_TOOLS:-$(cd .. && pwd)/target/tools}
PATH=$PATH:$tools

tool() {
    command -v "${1##*/}" >/dev/null && return
    echo "installing $1@$2 into $tools" >&2
    GOBIN=$tools go install "$1@$2"
}

helm_tool() { tool helm.sh/helm/v3/cmd/helm v3.22.0; }

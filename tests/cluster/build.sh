#!/bin/sh
# Builds the test cluster: build.sh [OUTPUT], by default target/cluster/whetstone-cluster. The first build takes minutes, one
# of what is up to date takes no time. Two at once wait for each other.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/../../target/cluster/whetstone-cluster}
mkdir -p "$(dirname "$output")"
output=$(cd "$(dirname "$output")" && pwd)/$(basename "$output")

exec 9>"$output.lock"
flock 9

cd "$here"
newer=$(find . -newer "$output" \( -name '*.go' ! -name '*_test.go' -o -name 'go.*' -o -name build.sh \) -print 2>/dev/null || true)
if [ -x "$output" ] && [ -z "$newer" ]; then
    exit 0
fi

# Without a version linked in, the API server reports v0.0.0 and refuses what is newer.
kubernetes=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${kubernetes#v1.}
minor=${minor%%.*}
version=k8s.io/component-base/version

# Without cgo no C compiler is needed and the binary is static. It replaces the old one in one step: that may be running.
export CGO_ENABLED=0
go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=$minor" \
    -o "$output.new" .
go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$(dirname "$output")/pause" ./pause # of the image that holds pods together
mv "$output.new" "$output"
touch "$output" # Go keeps the time of a cached binary.

#!/bin/sh
# Makes the image without a container engine: an OCI archive, for `ctr images import`, `podman load`, `skopeo copy`
# or `kind load image-archive`. The same binary makes the same archive, byte for byte.
#
#   deploy/image.sh OUT.tar [BINARY] [NAME:TAG]
#
# Without BINARY a static one is built first, which takes ten minutes.
set -eu
out=${1:?usage: deploy/image.sh OUT.tar [BINARY] [NAME:TAG]}
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
name=${3:-ghcr.io/whetstone-dev/whetstone:$version}

binary=${2:-}
if [ -z "$binary" ]; then
    target=$(uname -m)-unknown-linux-gnu
    # With a target of its own, the flags are for the program and not for the procedural macros, which cannot be static.
    (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_LTO=thin \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 cargo build --locked --release --bin whetstone --target "$target")
    binary=${CARGO_TARGET_DIR:-$root/target}/$target/release/whetstone
fi
if ldd "$binary" 2>/dev/null | grep -q '=>'; then
    echo "$binary needs shared libraries, and the image has none: build it with -C target-feature=+crt-static" >&2
    exit 1
fi
case $(od -An -tx1 -j18 -N1 "$binary" | tr -d ' ') in
3e) architecture=amd64 ;;
b7) architecture=arm64 ;;
*) echo "$binary is for neither amd64 nor arm64" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/usr/bin" "$work/root/etc/ssl/certs" "$work/image/blobs/sha256"
install -m 755 "$binary" "$work/root/usr/bin/whetstone"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"

# archive DIRECTORY: a tar in which nothing depends on when and by whom it was made.
archive() { tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - .; }
# blob FILE: moves it to where its digest says, and prints "digest size".
blob() {
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    size=$(wc -c <"$1" | tr -d ' ')
    mv "$1" "$work/image/blobs/sha256/$digest"
    echo "$digest $size"
}
# descriptor TYPE DIGEST SIZE
descriptor() { printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s' "$@"; }

archive "$work/root" >"$work/layer"
unpacked=$(sha256sum "$work/layer" | cut -d' ' -f1)
gzip -n "$work/layer"
set -- $(blob "$work/layer.gz")
layer="$(descriptor layer.v1.tar+gzip "$@")}"

cat >"$work/config" <<JSON
{"architecture":"$architecture","os":"linux","config":{"User":"65532:65532","Entrypoint":["/usr/bin/whetstone"],\
"Labels":{"org.opencontainers.image.version":"$version","org.opencontainers.image.source":"https://github.com/whetstone-dev/whetstone"}},\
"rootfs":{"type":"layers","diff_ids":["sha256:$unpacked"]}}
JSON
set -- $(blob "$work/config")
config="$(descriptor config.v1+json "$@")}"

printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s]}' \
    "$config" "$layer" >"$work/manifest"
set -- $(blob "$work/manifest")
digest=sha256:$1
printf '{"schemaVersion":2,"manifests":[%s,"annotations":{"io.containerd.image.name":"%s","org.opencontainers.image.ref.name":"%s"}}]}' \
    "$(descriptor manifest.v1+json "$@")" "$name" "${name##*:}" >"$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"

archive "$work/image" >"$out"
echo "$out: $name@$digest, $architecture, $(wc -c <"$out") bytes"

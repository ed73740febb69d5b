#!/bin/sh
# Renders the Helm chart, the one source of what is deployed, into the files of deploy/kustomize. `--check` changes nothing
# and fails when a file would change.
set -eu
cd "$(dirname "$0")"
. ./tools.sh
helm_tool

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
header='# Rendered from deploy/helm/whetstone by deploy/generate.sh: change it there.'

# render FILE ARGUMENT...: the chart, without what only Helm needs.
render() {
    file=$1
    shift
    mkdir -p "$out/$(dirname "$file")"
    {
        echo "$header"
        # A helm that was built from source does not know which Kubernetes it speaks to.
        helm template whetstone helm/whetstone --namespace whetstone --kube-version 1.33.0 \
            --set crds.install=false,persistence.keep=false "$@" 2>"$out/stderr" || { cat "$out/stderr" >&2; exit 1; }
    } | sed -e '/^# Source: /d' -e '/app.kubernetes.io\/managed-by: Helm/d' >"$out/$file"
}

render base/operator.yaml
render components/monitoring/monitoring.yaml --set serviceMonitor.enabled=true,prometheusRule.enabled=true \
    --show-only templates/servicemonitor.yaml --show-only templates/prometheusrule.yaml
render components/all-namespaces/rbac.yaml --set watch.allNamespaces=true --show-only templates/rbac-cluster.yaml
# In whichever namespace it is applied; the account stays that of the operator's own.
render namespace-access/role.yaml --set 'watch.namespaces={NAMESPACE}' --show-only templates/rbac-namespace.yaml
sed -i '/^  namespace: NAMESPACE$/d' "$out/namespace-access/role.yaml"
rm -f "$out/stderr"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' ../Cargo.toml | head -1)
grep -qx "appVersion: $version" helm/whetstone/Chart.yaml || {
    echo "appVersion of helm/whetstone/Chart.yaml is not $version, the version of Cargo.toml" >&2
    exit 1
}

if [ "${1:-}" = --check ]; then
    status=0
    for file in $(cd "$out" && find . -type f); do
        diff -u "kustomize/$file" "$out/$file" || status=1
    done
    [ $status = 0 ] || echo "deploy/kustomize is not what the chart renders: run deploy/generate.sh" >&2
    exit $status
fi
cp -R "$out/." kustomize/

#!/usr/bin/env bash
# Checks everything in this folder: the chart, the manifests, the alerts; and on a real API server what it takes of them, and
# what the operator may do there. The server is one of its own when target/cluster/whetstone-cluster has been built
# (tests/cluster/build.sh); without it that part is left out, and said so.
set -euo pipefail
cd "$(dirname "$0")"
. ./tools.sh
helm_tool
tool github.com/yannh/kubeconform/cmd/kubeconform v0.8.0
tool github.com/zegl/kube-score/cmd/kube-score v1.20.0

work=$(mktemp -d)
cluster_pid=
finish() {
    if [ -n "$cluster_pid" ]; then
        kill "$cluster_pid" 2>/dev/null || true
        wait "$cluster_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
step() { printf '\n== %s\n' "$*"; }
fail() { printf '%s\n' "$*" >&2; exit 1; }
kubernetes=1.33.0
chart=helm/whetstone

step "kustomize is what the chart renders"
./generate.sh --check

step "chart"
helm lint --strict --quiet --kube-version $kubernetes $chart 2>&1 | grep -v 'found symbolic link' || true
helm lint --strict --quiet --kube-version $kubernetes $chart >/dev/null 2>&1 || fail "helm lint fails"
render() {
    local name=$1
    shift
    helm template helm-whetstone $chart --namespace helm --kube-version $kubernetes "$@" >"$work/helm-$name.yaml" 2>"$work/stderr" ||
        { cat "$work/stderr" >&2; fail "the chart does not render with $*"; }
}
render default
render everything --set serviceMonitor.enabled=true,prometheusRule.enabled=true,prometheusRule.costPerHour=5.5 \
    --set 'watch.namespaces={shop,billing},rbac.secretNames={llm},imagePullSecrets[0].name=pull' \
    --set image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000 \
    --set-json 'podAnnotations={"a":"b"},podLabels={"c":"d"},nodeSelector={"e":"f"},tolerations=[{"operator":"Exists"}]' \
    --set-json 'networkPolicy.egress=[{"ports":[{"port":4000}]}],serviceAccount.annotations={"g":"h"}' \
    --set priorityClassName=system-cluster-critical,persistence.storageClassName=fast,log.filter=debug
render all-namespaces --set watch.allNamespaces=true
render bare --set crds.install=false,rbac.create=false,serviceAccount.create=false,persistence.enabled=false \
    --set networkPolicy.enabled=false,podDisruptionBudget.enabled=false
for wrong in image.digest=latest watch.namespace=shop maxCycles=0 log.format=xml 'allowEndpoints={a/b}'; do
    if helm template whetstone $chart --kube-version $kubernetes --set "$wrong" >/dev/null 2>&1; then
        fail "the chart takes --set $wrong"
    fi
done
echo "renders in four shapes, refuses five wrong values"

step "kustomize"
kustomizations="kustomize/base kustomize/namespace-access kustomize/examples/several-namespaces quickstart/operator quickstart"
for folder in $kustomizations; do
    kubectl kustomize "$folder" >"$work/kustomize-${folder//\//-}.yaml"
done
mkdir "$work/all" && cat >"$work/all/kustomization.yaml" <<YAML
resources: [../base]
components: [../all]
YAML
cp -R kustomize/base "$work/base" && cp -R kustomize/components/all-namespaces "$work/all-component"
sed -i 's#\.\./all#../all-component#' "$work/all/kustomization.yaml"
kubectl kustomize "$work/all" >"$work/kustomize-all-namespaces.yaml"
grep -q -- --all-namespaces "$work/kustomize-all-namespaces.yaml" || fail "components/all-namespaces does not set --all-namespaces"
if grep -A3 '^kind: Role$' "$work/kustomize-all-namespaces.yaml" | grep -q 'name: whetstone$'; then
    fail "components/all-namespaces leaves the Role of the base"
fi
echo "$kustomizations, components"

step "alerts"
if command -v promtool >/dev/null; then
    promtool check rules --lint=all --lint-fatal $chart/files/alerts.yaml
    promtool test rules ../tests/gitops/alerts.test.yaml
    for alert in $(sed -n 's/.*- alert: //p' $chart/files/alerts.yaml); do
        grep -q "^### $alert\$" README.md || fail "README.md does not say what to do about $alert"
    done
else
    echo "left out: there is no promtool"
fi

step "kubeconform"
mkdir "$work/schemas"
kubectl patch --local -f ../crds/whetstone.dev.yaml --type merge -p '{}' -o json | ./schemas.py "$work/schemas"
# Kubernetes' own schemas would have to be downloaded; the API server below knows them better.
kubeconform -strict -summary -ignore-missing-schemas -schema-location "$work/schemas/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json" \
    "$work"/helm-*.yaml "$work"/kustomize-*.yaml

step "the quickstart as the command line reads it"
whetstone=${WHETSTONE:-../target/debug/whetstone}
if [ -x "$whetstone" ]; then
    mkdir "$work/manifests" && cp "$work/kustomize-quickstart.yaml" "$work/manifests/"
    "$whetstone" validate -f quickstart/story/optimization.yaml --manifests "$work/manifests" 2>&1 | head -1
else
    echo "left out: there is no $whetstone"
fi

step "kube-score"
# What is left out, and why:
#   a CPU limit: a throttled leader renews its Lease late, a throttled agent answers late
#   container-image-pull-policy: IfNotPresent is right for tags that never move, and images that were loaded need it
#   deployment-strategy, deployment-replicas, deployment-has-host-podantiaffinity: one pod at a time, for the store is a file
#   pod-networkpolicy, deployment-has-poddisruptionbudget, pod-probes: of the operator they are asked, of a demonstration not
kube_score() { kube-score score --output-format ci "$@" | grep -v '^\[\(OK\|SKIPPED\)\]' && return 1 || return 0; }
common=(--ignore-container-cpu-limit --ignore-test container-image-pull-policy --ignore-test deployment-strategy
    --ignore-test deployment-replicas --ignore-test deployment-has-host-podantiaffinity)
kube_score "${common[@]}" "$work/kustomize-kustomize-base.yaml" || fail "kube-score finds fault with the operator"
kube_score "${common[@]}" --ignore-test pod-networkpolicy --ignore-test deployment-has-poddisruptionbudget \
    --ignore-test pod-probes "$work/kustomize-quickstart.yaml" || fail "kube-score finds fault with the quickstart"
echo "nothing"

step "a real API server"
cluster=${WHETSTONE_CLUSTER:-../target/cluster/whetstone-cluster}
if [ ! -x "$cluster" ]; then
    echo "left out: there is no $cluster; tests/cluster/build.sh builds it"
    exit 0
fi
mkfifo "$work/ready"
"$cluster" up --dir "$work/cluster" --rm >"$work/ready" 2>"$work/cluster.log" &
cluster_pid=$!
read -r -t 120 ready <"$work/ready" || { cat "$work/cluster.log" >&2; fail "the API server does not start"; }
KUBECONFIG=$(sed 's/.*"kubeconfig":"\([^"]*\)".*/\1/' <<<"$ready")
export KUBECONFIG
kubectl apply --server-side -f ../crds/whetstone.dev.yaml
kubectl wait --for=condition=Established --timeout=30s crd/agentoptimizations.whetstone.dev crd/promptversions.whetstone.dev
for namespace in helm shop billing; do kubectl create namespace $namespace; done

# Really applied, twice: what is sent again must change nothing. A warning is a failure; so Pod Security has its say.
apply() {
    kubectl apply --server-side --validate=strict "$@" 2>&1 | tee "$work/applied"
    if grep -q '^Warning' "$work/applied"; then fail "the API server warns about $*"; fi
}
for folder in kustomize/base quickstart/operator quickstart; do
    apply -k $folder
done
kubectl diff --server-side -k quickstart
kubectl diff --server-side -k quickstart/operator
# What belongs to operators that are not installed here is left out. The CRDs of the chart stand beside those of kubectl.
for file in helm-default helm-everything helm-all-namespaces helm-bare kustomize-kustomize-examples-several-namespaces kustomize-all-namespaces; do
    awk 'BEGIN { RS = "\n---\n"; ORS = "\n---\n" } !/monitoring.coreos.com/' "$work/$file.yaml" >"$work/$file-here.yaml"
    kubectl apply --server-side --dry-run=server --validate=strict -f "$work/$file-here.yaml" >"$work/applied" 2>&1 ||
        { cat "$work/applied" >&2; fail "the API server refuses $file"; }
    if grep '^Warning' "$work/applied"; then fail "the API server warns about $file"; fi
    echo "$file: $(wc -l <"$work/applied") objects accepted"
done
if kubectl -n whetstone run privileged --image=x --dry-run=server >/dev/null 2>&1; then
    fail "the namespace takes a pod that Pod Security's restricted profile forbids"
fi

step "what the operator may do"
failures=0 rules=0
while read -r may verb resource rest; do
    case $may in '#'* | '') continue ;; esac
    subresource= namespace=$rest
    case $rest in --subresource=*) subresource=${rest%% *} namespace=${rest##* } ;; esac
    where=(-n "$namespace")
    [ "$namespace" = - ] && where=()
    # shellcheck disable=SC2086
    said=$(kubectl auth can-i "$verb" "$resource" $subresource "${where[@]}" --as system:serviceaccount:whetstone:whetstone 2>/dev/null || true)
    rules=$((rules + 1))
    if [ "$said" != "$may" ]; then
        echo "$verb $resource $subresource in $namespace: $said, and it should be $may" >&2
        failures=$((failures + 1))
    fi
done <../tests/gitops/rbac.txt
[ $failures = 0 ] || fail "$failures of $rules answers are wrong"
echo "$rules answers as they should be"

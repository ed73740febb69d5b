#!/bin/bash
# The story of deploy/quickstart on a real node, from the project's own manifests: operator and quickstart are applied, a prompt is
# promoted, Prometheus shows that it does harm, it is taken back, gift cards teach the next one, and a scenario with a mistake
# stalls it until it is mended. Prints a timeline and what a client that knows nothing of Whetstone (kstatus) makes of it; fails
# with what was expected and what was seen.
#
#   sudo tests/cluster/story.sh
#
# WHETSTONE_BIN    the binary of the image (default target/debug/whetstone; one that is linked dynamically takes its libraries along)
# STORY_LONG=1     also waits until the last version is established, which takes the five minutes of `watch.window`
# STORY_KEEP=DIR   keeps logs and every state that was observed, in DIR
# STORY_PATIENCE=N multiplies all deadlines, for a machine that is busy with other things (default 1)
#
# It needs root, kubectl, jq, curl, and what install-node.sh and Debian's package `prometheus` install.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cluster=$root/target/cluster/whetstone-cluster
binary=${WHETSTONE_BIN:-$root/target/debug/whetstone}
patience=${STORY_PATIENCE:-1}
namespace=whetstone
optimization=support-assistant
target=support-prompt-live

work=$(mktemp -d "${TMPDIR:-/tmp}/whetstone-story.XXXXXX")
observed=$work/observed # one file for each kind: {t, kstatus, object} a line
mkdir "$observed"
jobs_started=()

# --- the end ---

stop_started() {
    local pid
    for pid in "${jobs_started[@]}"; do
        kill -TERM -- "-$pid" 2>/dev/null || true # each is a process group of its own
        wait "$pid" 2>/dev/null || true
    done
    jobs_started=()
}

finish() {
    local code=$?
    trap - EXIT
    if [ -n "${STORY_KEEP:-}" ]; then
        mkdir -p "$STORY_KEEP"
        cp -r "$observed" "$work"/*.log "$work"/*.json "$STORY_KEEP" 2>/dev/null || true
        cp "$work"/cluster/*.log "$STORY_KEEP" 2>/dev/null || true
    fi
    stop_started
    rm -rf "$work"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    trap - ERR
    echo "story: $*" >&2
    if [ -n "${KUBECONFIG:-}" ]; then
        {
            echo "--- pods"
            kubectl -n $namespace get pods -o wide
            echo "--- agopt, pver"
            kubectl -n $namespace get agopt,pver
            echo "--- conditions of $optimization"
            kubectl -n $namespace get agopt $optimization -o json | jq -c '.status.conditions[]?, .status.cycle'
            echo "--- events"
            kubectl -n $namespace get events --sort-by=.lastTimestamp | tail -n 20
            echo "--- the operator's log"
            kubectl -n $namespace logs deploy/whetstone --tail=40
        } >&2 2>&1 || true
    fi
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND failed"' ERR

# --- small things ---

now() { printf '%s' "$EPOCHREALTIME"; }
minus() { jq -n "$1 - $2 | . * 10 | round / 10"; }

# begin LOG COMMAND...: in the background, as a process group, with its errors in LOG.log
begin() {
    local log=$1
    shift
    set -m
    "$@" >>"$work/$log.log" 2>&1 &
    set +m
    jobs_started+=($!)
}

# mark TIME WHAT: a line of the timeline
mark() { printf '%7.1f s  %s\n' "$(minus "$1" "$began")" "$2"; }
percent() { jq -r '"\(.value * 1000 | round / 10) %"' <<<"$record"; }

# observe KIND: writes every state of every object of KIND, with the time at which it came and what kstatus says of it.
observe() {
    local object answer t
    mkfifo "$work/$1.objects" "$work/$1.answers"
    "$cluster" kstatus <"$work/$1.objects" >"$work/$1.answers" &
    exec 8>"$work/$1.objects" 9<"$work/$1.answers"
    kubectl -n $namespace get "$1" --watch -o json | jq -c --unbuffered 'if has("items") then .items[] else . end' |
        while read -r object; do
            t=$EPOCHREALTIME
            printf '%s\n' "$object" >&8
            read -r answer <&9
            printf '{"t":%s,"kstatus":%s,"object":%s}\n' "$t" "$answer" "$object" >>"$observed/$1"
        done
}

# Asks Prometheus every half second what the operator asks it, and the agent which prompt it serves.
sample() {
    local query=$1 samples=$2 value count hash
    while sleep 0.5; do
        value=$(ask "$query") count=$(ask "$samples")
        hash=$(curl -sS --max-time 2 "http://$agent_ip:8080/metrics" | sed -n 's/^agent_prompt_info{hash="\(.*\)"} 1$/\1/p') || hash=
        printf '{"t":%s,"value":%s,"samples":%s,"agent":"%s"}\n' "$EPOCHREALTIME" "$value" "$count" "$hash" >>"$observed/samples"
    done
}

ask() {
    { curl -sS --max-time 2 --data-urlencode "query=$1" "http://$prometheus_ip:9090/api/v1/query" || echo '{}'; } |
        jq '(.data.result[0].value[1] // "NaN") | tonumber? // null | if . != null and isnan then null else . end'
}

# seen FILE AFTER FILTER: the first record later than AFTER for which FILTER holds. The last line may be half written.
seen() {
    jq -c --argjson after "$2" "select(.t > \$after) | select($3)" "$observed/$1" 2>/dev/null | head -n 1 || true
}

# await WHAT SECONDS FILE AFTER FILTER: waits for such a record and leaves it in $record, and its time in $at.
await() {
    local what=$1 deadline=$((SECONDS + $2 * patience)) file=$3 after=$4 filter=$5
    while :; do
        record=$(seen "$file" "$after" "$filter")
        if [ -n "$record" ]; then
            at=$(jq .t <<<"$record")
            return 0
        fi
        if [ $SECONDS -ge $deadline ]; then
            echo "story: last seen of $file:" >&2
            { tail -n 1 "$observed/$file" | jq -c '.kstatus // ., .object.status // .object.data'; } >&2 2>&1 || true
            fail "expected within $(($2 * patience)) s: $what"
        fi
        sleep 0.3
    done
}

expect() { # WHAT EXPECTED SEEN
    if [ "$2" != "$3" ]; then fail "$1: expected $2, saw $3"; fi
}

# --- 1: the cluster ---

if [ "$(id -u)" != 0 ]; then
    trap - ERR
    echo "story: run it as root, for the node" >&2
    exit 1
fi
"$here/build.sh"
"$here/install-node.sh"
if ! command -v prometheus >/dev/null; then
    apt-get install -q -y --no-install-recommends prometheus
    # The package starts one for the whole machine.
    if [ -d /run/systemd/system ]; then systemctl disable --now prometheus; else service prometheus stop || true; fi
fi

began=$(now)
set -m
"$cluster" up --node --dir "$work/cluster" >"$work/up.json" 2>"$work/up.log" &
set +m
jobs_started+=($!)
deadline=$((SECONDS + 120 * patience))
until [ -s "$work/up.json" ]; do
    kill -0 "${jobs_started[0]}" 2>/dev/null || fail "the cluster did not start: $(tail -n 5 "$work/up.log")"
    [ $SECONDS -lt $deadline ] || fail "the cluster was not ready within $((120 * patience)) s: $(tail -n 5 "$work/up.log")"
    sleep 0.2
done
up() { jq -r "$1" "$work/up.json"; }
KUBECONFIG=$(up .kubeconfig)
export KUBECONFIG
mark "$(now)" "cluster with a node ready"

# --- 2 and 3: images, under the names that the manifests have ---

image_of() { sed -n 's/^ *image: *//p' "$1" | sort -u; }

# libraries BINARY: --add for the loader and each library of a binary that is linked dynamically
libraries() {
    local library
    ldd "$1" 2>/dev/null | sed -n 's/.*=> *\(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
        printf -- '--add\n%s:%s\n' "$library" "$library"
    done
}

# load NAME BINARY USER
load() {
    local add ctr
    mapfile -t add < <(libraries "$2")
    mapfile -t ctr < <(up '.ctr[]')
    "$cluster" image --binary "$2" --name "$1" --user "$3" --out "$work/image.tar" "${add[@]}"
    echo "image $1@$(tar -xOf "$work/image.tar" index.json | jq -r '.manifests[0].digest')"
    "${ctr[@]}" "$work/image.tar" >>"$work/images.log"
    rm "$work/image.tar"
}

mkdir "$work/bin"
cp "$binary" "$work/bin/whetstone"
# Not as /prometheus, where the manifest mounts its volume.
cp "$(command -v prometheus)" "$work/bin/prometheus-server"
load "$(image_of "$root/deploy/kustomize/base/operator.yaml")" "$work/bin/whetstone" 65532
load "$(image_of "$root/deploy/quickstart/prometheus.yaml")" "$work/bin/prometheus-server" 65534
rm -r "${work:?}/bin"
mark "$(now)" "images of Whetstone and Prometheus imported"

# --- 4: what this node lacks. Nothing else of the manifests is changed. ---

# No DNS: services get addresses that are known beforehand, and pods their names by hostAliases.
service_base=$(up .serviceCIDR | sed 's/\.[0-9]*\/.*//')
# Kubernetes assigns the first 16 addresses of a /24 only on request, so no other Service has got one of these.
simulator_ip=$service_base.11 prometheus_ip=$service_base.12 agent_ip=$service_base.13
deploy=$(realpath --relative-to="$(realpath "$work")/overlay" "$root/deploy")
mkdir -p "$work/overlay/operator" "$work/overlay/quickstart" "$work/store"
aliases="
- target: {kind: Deployment}
  patch: |
    - op: add
      path: /spec/template/spec/hostAliases
      value:
      - {ip: $simulator_ip, hostnames: [simulator]}
      - {ip: $prometheus_ip, hostnames: [prometheus]}
      - {ip: $agent_ip, hostnames: [support-assistant]}"
address() {
    printf -- '\n- target: {kind: Service, name: %s}\n  patch: "- {op: add, path: /spec/clusterIP, value: %s}"' "$1" "$2"
}
cat >"$work/overlay/operator/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../$deploy/quickstart/operator, volume.yaml]
patches:$aliases
END
cat >"$work/overlay/quickstart/kustomization.yaml" <<END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../$deploy/quickstart]
patches:$aliases$(address simulator "$simulator_ip")$(address prometheus "$prometheus_ip")$(address support-assistant "$agent_ip")
END
# No storage class: a volume of the node for the operator's claim. A local volume takes fsGroup, as a disk would.
cat >"$work/overlay/operator/volume.yaml" <<END
apiVersion: v1
kind: PersistentVolume
metadata: {name: whetstone}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: $namespace, name: whetstone}
  local: {path: $work/store}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$(up .nodeName)]}]
END

# No figures of its disk, without which no pod is scheduled that requests ephemeral storage.
kubectl patch node "$(up .nodeName)" --subresource=status --type=merge \
    --patch '{"status": {"capacity": {"ephemeral-storage": "20Gi"}}}' >>"$work/apply.log"

# --- 5: the story ---

kubectl apply --server-side -f "$root/crds" >>"$work/apply.log"
kubectl apply -k "$work/overlay/operator" >>"$work/apply.log"
mark "$(now)" "operator applied"
begin observe-deployments observe deployments
await "the operator's Deployment is available" 120 deployments 0 \
    '.object.metadata.name == "whetstone" and any(.object.status.conditions[]?; .type == "Available" and .status == "True")'
mark "$at" "operator available: its probes answer"

for kind in agopt pver configmaps; do begin "observe-$kind" observe $kind; done
kubectl apply -k "$work/overlay/quickstart" >>"$work/apply.log"
applied=$(now)
mark "$applied" "quickstart applied"

serves() { # VERSION: as a filter on ConfigMaps
    printf '.object.metadata.name == "%s" and .object.data.version == "%s"' $target "$1"
}
available() { # DEPLOYMENT
    printf '.object.metadata.name == "%s" and .kstatus.status == "Current"' "$1"
}
revision() {
    kubectl -n $namespace get deploy $optimization -o jsonpath='{.metadata.annotations.deployment\.kubernetes\.io/revision}'
}
hash_of() { jq -r '.object.data."prompt-hash" | sub("^.*:"; "")' <<<"$record"; }

await "v1 in ConfigMap $target" 60 configmaps 0 "$(serves v1)"
v1_at=$at v1_hash=$(hash_of)
mark "$at" "v1 in ConfigMap $target"
for name in $optimization simulator prometheus; do
    await "Deployment $name runs" 120 deployments 0 "$(available "$name")"
done
mark "$at" "agent, simulator and Prometheus run"
signal() { kubectl -n $namespace get agopt $optimization -o json | jq -r ".spec.watch.signals[0]$1"; }
limit=$(signal .max)
minimum=$(signal .samples.minimum)
interval=$(kubectl -n $namespace get agopt $optimization -o json | jq '.spec.watch.interval | rtrimstr("s") | tonumber')
begin sample sample "$(signal .query)" "$(signal .samples.query)"
await "the agent serves v1 ($v1_hash)" 60 samples 0 ".agent == \"$v1_hash\""
mark "$at" "the agent serves v1"
await "Prometheus has scraped conversations, fewer than $limit of them failed" 120 samples 0 ".samples >= $minimum and .value <= $limit"
mark "$at" "Prometheus: $(percent) of conversations fail"
revision_v1=$(revision)

await "v2 is promoted" 600 configmaps "$v1_at" "$(serves v2)"
v2_at=$at v2_hash=$(hash_of)
mark "$at" "v2 in ConfigMap $target: promoted"
await "the agent serves v2 ($v2_hash)" 120 samples "$v2_at" ".agent == \"$v2_hash\""
mark "$at" "the agent serves v2"

breach=".value != null and .samples >= $minimum and .value > $limit"
await "Prometheus shows more than $limit failed conversations" 180 samples "$v2_at" "$breach"
breach_at=$at
breach_seen="Prometheus: $(percent) of conversations fail, above the limit for the first time"
agopt() { printf '.object.metadata.name == "%s" and %s' $optimization "$1"; }

await "v1 is back in ConfigMap $target" 120 configmaps "$v2_at" "$(serves v1)"
restored_at=$at
expect "the prompt that was restored, by its hash" "$v1_hash" "$(hash_of)"
{
    mark "$breach_at" "$breach_seen"
    for n in 1 2; do
        record=$(seen agopt "$v2_at" "$(agopt ".object.status.watch.breaches == $n")")
        if [ -n "$record" ]; then mark "$(jq .t <<<"$record")" "the operator has read breach $n of 3"; fi
    done
} | sort -n
# The third is read one interval after the second; its state is written with the rollback.
record=$(seen agopt "$v2_at" "$(agopt ".object.status.watch.breaches == 2")")
third_at=
if [ -n "$record" ]; then
    third_at=$(jq --argjson interval "$interval" '
        .object.status.watch.signals[0].at | ((.[0:19] + "Z" | fromdateiso8601) + ("0." + (.[20:] | rtrimstr("Z")) | tonumber)) + $interval
    ' <<<"$record")
fi
mark "$restored_at" "v1 in ConfigMap $target: rolled back"
await "PromptVersion v2 is RolledBack" 60 pver "$v2_at" '.object.status.version == "v2" and .object.status.phase == "RolledBack"'
mark "$at" "PromptVersion v2 is RolledBack: $(jq -r '.object.status.reasons[0]' <<<"$record")"
await "the agent serves v1 again ($v1_hash)" 120 samples "$restored_at" ".agent == \"$v1_hash\""
healed_at=$at
mark "$at" "the agent serves v1 again"
await "fewer than $limit of the conversations fail again" 120 samples "$healed_at" ".value != null and .value <= $limit"
mark "$at" "Prometheus: $(percent) of conversations fail"
expect "restarts of the agent by a promotion and a rollback" 2 "$(($(revision) - revision_v1))"

kubectl -n $namespace patch configmap support-scenarios --patch-file "$root/deploy/quickstart/gift-cards.yaml" >>"$work/apply.log"
taught_at=$(now)
mark "$taught_at" "scenarios about gift cards added"
await "v3 is promoted" 600 configmaps "$taught_at" "$(serves v3)"
v3_at=$at v3_hash=$(hash_of)
mark "$at" "v3 in ConfigMap $target: promoted"
await "the agent serves v3 ($v3_hash)" 120 samples "$v3_at" ".agent == \"$v3_hash\""
mark "$at" "the agent serves v3"
# Until no conversation of before is in the 30 s that the query looks back on.
sleep 40
record=$(tail -n 1 "$observed/samples")
mark "$(jq .t <<<"$record")" "Prometheus: $(percent) of conversations fail"
jq -e ".value <= $limit" <<<"$record" >/dev/null || fail "v3 does harm: expected at most $limit failed conversations, saw $record"
if [ "${STORY_LONG:-}" = 1 ]; then
    await "v3 is established" 400 agopt "$v3_at" "$(agopt '.object.status.watch.established == true')"
    mark "$at" "v3 is established"
fi

# Somebody adds a scenario that is none. A person has to mend it; what serves goes on serving.
spoil() { kubectl -n $namespace patch configmap support-scenarios --type=merge --patch "{\"data\": {\"typo.yaml\": $1}}" >>"$work/apply.log"; }
spoiled_at=$(now)
spoil '"- id: what-does-it-say\n"'
await "kstatus takes the AgentOptimization for failed" 60 agopt "$spoiled_at" "$(agopt '.kstatus.status == "Failed"')"
mark "$at" "a scenario without a message: $(jq -r '.object.status.conditions[] | select(.type == "Stalled").message' <<<"$record")"
expect "the version that serves meanwhile" v3 "$(kubectl -n $namespace get configmap $target -o jsonpath='{.data.version}')"
spoil null
await "kstatus takes it for current again" 60 agopt "$at" "$(agopt '.kstatus.status == "Current"')"
mended_at=$at
mark "$at" "the scenario is taken away, and all is well"
expect "the version that serves" v3 "$(kubectl -n $namespace get configmap $target -o jsonpath='{.data.version}')"

# --- 6: what it took ---

pod=$(kubectl -n $namespace get pods -l app.kubernetes.io/name=whetstone -o jsonpath='{.items[0].metadata.uid}')
memory=$(
    grep -lE "${pod//-/[-_]}" /proc/[0-9]*/cgroup 2>/dev/null | sed 's/cgroup$/status/' | while read -r status; do
        awk '/^Name:/ {name = $2} /^VmRSS/ {now = $2} /^VmHWM/ {most = $2}
            END {if (name ~ /^whetstone/) printf "%.0f MiB, at most %.0f MiB", now / 1024, most / 1024}' "$status" 2>/dev/null || true
    done || true
)
kubectl -n $namespace logs deploy/whetstone --tail=-1 >"$work/operator.log"
restarts=$(kubectl -n $namespace get pods -o json | jq '[.items[].status.containerStatuses[]?.restartCount] | add')
expect "restarts of containers" 0 "$restarts"
expect "lines of level ERROR in the operator's log" "" "$(grep -E '"level":"ERROR"' "$work/operator.log" || true)"
expect "lines about what is forbidden in the operator's log" "" "$(grep -i forbidden "$work/operator.log" || true)"
account=system:serviceaccount:$namespace:whetstone
refused=$(jq -c "select(.user.username == \"$account\" and .responseStatus.code == 403) | [.verb, .requestURI]" "$(up .auditLog)")
expect "requests of the operator that the API server forbade" "" "$refused"
requests=$(jq -rs "[.[] | select(.user.username == \"$account\" and .stage == \"ResponseComplete\")]"'
    | "\(length) in \((last.stageTimestamp[0:19] + "Z" | fromdate) - (first.stageTimestamp[0:19] + "Z" | fromdate)) s, "
        + "\(map(select(.verb == "patch" and .objectRef.subresource == "status")) | length) of them writes of status"
' "$(up .auditLog)")

echo
echo "kstatus, each time it changed:"
jq -rs --argjson began "$began" '
    sort_by(.t) | group_by([.object.kind, .object.metadata.name])[]
    | (reduce .[] as $r ([]; [$r.kstatus.status, ($r.object.status.phase // "no status")] as $new
        | if (last // [] | .[1:]) == $new then . else . + [[$r.t] + $new] end)) as $states
    | "  \(.[0].object.kind) \(.[0].object.metadata.name): "
        + ($states | map("\((.[0] - $began) * 10 | round / 10) s \(.[1]) (\(.[2]))") | join(", "))
' "$observed/agopt" "$observed/pver"
wrong=$(jq -c --argjson from "$spoiled_at" --argjson to "$mended_at" '
    select((.kstatus.status == "Failed" and (.t < $from or .t > $to)) or .kstatus.status == "Unknown") | .kstatus
' "$observed/agopt" "$observed/pver")
expect "states that kstatus takes for failed, but for the scenario without a message" "" "$wrong"

# verdict WHAT FILE AFTER FILTER EXPECTED: what kstatus said of the first such state
verdict() {
    record=$(seen "$2" "$3" "$4")
    expect "kstatus of $1" "$5" "$(jq -r '.kstatus.status // "nothing: no such state"' <<<"${record:-"{}"}")"
}
verdict "the AgentOptimization before v1 serves" agopt 0 "$(agopt '(.object.status.champion | not) and .object.status')" InProgress
verdict "the AgentOptimization while its first cycle runs" agopt "$v1_at" "$(agopt '.object.status.phase == "Running"')" Current
verdict "the AgentOptimization while v2 is being applied" agopt "$v1_at" "$(agopt '.object.status.champion.version == "v2" and any(.object.status.conditions[]; .type == "Reconciling")')" InProgress
verdict "the AgentOptimization while v2 is watched" agopt "$v2_at" "$(agopt '.object.status.watch.signals and .object.status.champion.version == "v2"')" Current
verdict "the AgentOptimization while v1 is being restored" agopt "$breach_at" "$(agopt '.object.status.champion.version == "v1" and any(.object.status.conditions[]; .type == "Reconciling")')" InProgress
verdict "the AgentOptimization after the rollback" agopt "$healed_at" "$(agopt '.object.status.champion.version == "v1"')" Current
verdict "PromptVersion v2 when it serves" pver 0 '.object.status.version == "v2" and .object.status.phase == "Champion"' Current
verdict "PromptVersion v2 when it was taken back" pver "$v2_at" '.object.status.version == "v2" and .object.status.phase == "RolledBack"' Current

# --- away with it: nothing may hang on a finalizer ---

deleted=$(now)
for pid in "${jobs_started[@]:1}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done # all but the cluster
jobs_started=("${jobs_started[0]}")
timeout $((120 * patience)) kubectl delete -k "$work/overlay/quickstart" >>"$work/apply.log" || fail "kubectl delete -k quickstart did not come to an end"
mark "$(now)" "quickstart deleted"
expect "the ConfigMap $target, which onDelete: Keep keeps" v3 "$(kubectl -n $namespace get configmap $target -o jsonpath='{.data.version}')"
timeout $((120 * patience)) kubectl delete -k "$work/overlay/operator" >>"$work/apply.log" || fail "kubectl delete -k operator did not come to an end"
timeout $((120 * patience)) kubectl delete -f "$root/crds" >>"$work/apply.log" || fail "kubectl delete -f crds did not come to an end"
mark "$(now)" "operator, its namespace and the CRDs deleted, after $(minus "$(now)" "$deleted") s in all"

echo
echo "from quickstart applied to v1 in the ConfigMap:           $(minus "$v1_at" "$applied") s"
echo "from v1 to v2 promoted, a cycle of the simulated models:  $(minus "$v2_at" "$v1_at") s"
echo "from v2 promoted to the first reading above the limit:    $(minus "$breach_at" "$v2_at") s"
echo "from that reading to the restored ConfigMap:              $(minus "$restored_at" "$breach_at") s"
if [ -n "$third_at" ]; then
    echo "  of which after the operator's third reading was due:    $(minus "$restored_at" "$third_at") s"
fi
echo "from the restored ConfigMap to the agent that serves it:  $(minus "$healed_at" "$restored_at") s"
echo "the operator's memory:                                    ${memory:-unknown}"
echo "the operator's requests to the API server:                $requests"

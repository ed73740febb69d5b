{{/* The name of everything: the release's, with the chart's in it. */}}
{{- define "whetstone.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "whetstone.selector" -}}
app.kubernetes.io/name: whetstone
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "whetstone.labels" -}}
{{ include "whetstone.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "whetstone.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "whetstone.fullname" .) -}}
{{- end -}}

{{- define "whetstone.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "whetstone.claim" -}}
{{- .Values.persistence.existingClaim | default (include "whetstone.fullname" .) -}}
{{- end -}}

{{/* What the operator may do in a namespace that it watches. */}}
{{- define "whetstone.rules" -}}
# Its own resources. `patch` on an AgentOptimization sets and removes the finalizer of `onDelete: Revert`.
- apiGroups: [whetstone.dev]
  resources: [agentoptimizations]
  verbs: [get, list, watch, patch]
- apiGroups: [whetstone.dev]
  resources: [promptversions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [whetstone.dev]
  resources: [agentoptimizations/status, promptversions/status]
  verbs: [patch]
- apiGroups: [whetstone.dev]
  resources: [agentoptimizations/finalizers, promptversions/finalizers]
  verbs: [update]
# Base prompts, tools and scenarios are read; the target is written by server-side apply, and never another's.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch]
# Keys. The operator asks for each by its name; RBAC cannot say "those that a resource refers to", so without rbac.secretNames this
# allows every Secret of the namespace to be read.
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{ toYaml . | nindent 4 }}
  {{- end }}
  verbs: [get, watch]
# The restart of `promotion.target.restart`: one annotation of the pod template.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

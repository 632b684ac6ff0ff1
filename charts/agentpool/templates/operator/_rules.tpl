{{/* What the operator does in every namespace that it serves. */}}
{{- define "agentpool.operator.rules" -}}
- apiGroups: [agentpool.dev]
  resources: [agentpools]
  verbs: [get, list, watch]
- apiGroups: [agentpool.dev]
  resources: [agentpools/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments/scale]
  verbs: [get, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames:
    {{- toYaml . | nindent 2 }}
  {{- end }}
  verbs: [get]
{{- end -}}

{{/* What GPU capacity needs: the nodes, and what all pods request of them. */}}
{{- define "agentpool.operator.capacityRules" -}}
- apiGroups: [""]
  resources: [nodes, pods]
  verbs: [list, watch]
- apiGroups: [resource.k8s.io]
  resources: [resourceslices, deviceclasses, resourceclaims, resourceclaimtemplates]
  verbs: [list, watch]
{{- end -}}

{{/* Which cluster this is. */}}
{{- define "agentpool.operator.identityRules" -}}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
{{- end -}}

{{/* What the gateway looks up in every namespace that is served: the pools and where their queues are. */}}
{{- define "agentpool.gateway.rules" -}}
- apiGroups: [agentpool.dev]
  resources: [agentpools]
  verbs: [get, list, patch]  # patch: a pool is paused with spec.paused
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames:
    {{- toYaml . | nindent 2 }}
  {{- end }}
  verbs: [get]
{{- if .Values.gateway.workerLogs }}
- apiGroups: [""]
  resources: [pods, pods/log]
  verbs: [get]
- apiGroups: [apps]
  resources: [deployments, replicasets]  # whether a pod is of the pool: its label alone is no proof
  verbs: [get]
{{- end }}
{{- end -}}

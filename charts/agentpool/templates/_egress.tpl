{{/* Egress rules that several NetworkPolicies share. */}}

{{- define "agentpool.egressDns" -}}
- ports:
  {{- range .Values.networkPolicy.dnsPorts }}
  - port: {{ . | int64 }}
    protocol: UDP
  - port: {{ . | int64 }}
    protocol: TCP
  {{- end }}
{{- end -}}

{{/* To the trial Redis, and to the ports of the user's own. */}}
{{- define "agentpool.egressRedis" -}}
{{- if include "agentpool.trialRedis" . }}
- ports:
  - port: redis
    protocol: TCP
  to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ .Release.Namespace | quote }}
    podSelector:
      matchLabels:
        {{- include "agentpool.selector" (list . "redis") | nindent 8 }}
{{- end }}
{{- with .Values.networkPolicy.redisPorts }}
- ports:
  {{- range . }}
  - port: {{ . | int64 }}
    protocol: TCP
  {{- end }}
{{- end }}
{{- end -}}

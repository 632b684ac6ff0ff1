{{/* Egress rules that several NetworkPolicies share. */}}

{{/* To the cluster's DNS. A rule without ports would let everything out, so no ports make no rule. */}}
{{- define "agentpool.egressDns" -}}
{{- with .Values.networkPolicy.dnsPorts }}
- ports:
  {{- range . }}
  - port: {{ . | int64 }}
    protocol: UDP
  - port: {{ . | int64 }}
    protocol: TCP
  {{- end }}
{{- end }}
{{- end -}}

{{/* To the bundled Redis, and to the ports of the user's own Redis. */}}
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

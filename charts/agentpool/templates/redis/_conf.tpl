{{/* The server's settings; the bundled Redis restarts when they change. */}}
{{- define "agentpool.valkeyConf" -}}
include /etc/valkey/auth/auth.conf
dir /data
# The queue's keys must never be evicted, and what was written a second or two before a crash may be lost.
maxmemory-policy noeviction
# Records of small jobs in a compact form; settings and counters in tables; streams in short blocks.
hash-max-listpack-value 1024
hash-max-listpack-entries 32
stream-node-max-entries 32
appendonly yes
appendfsync everysec
save ""
{{- with .Values.redis.extraConfig }}
{{ . }}
{{- end }}
{{- end -}}

{{/* Changes with a given password, so that a new one restarts Redis; a generated one is not known where nothing can be
     looked up. Who may read pods reads annotations, so this is a slow hash (scrypt) and not a plain one. */}}
{{- define "agentpool.passwordMark" -}}
{{- with .Values.redis.auth.password }}{{ derivePassword 1 "long" . $.Release.Name $.Release.Namespace | sha256sum }}{{ end -}}
{{- end -}}

{{/* The bundled Redis runs as user 999, as its image expects; the other pods run as the user of AgentPool's images.
     A configured id, or none (OpenShift chooses an id), applies to the bundled Redis too. */}}
{{- define "agentpool.redisPodSecurity" -}}
{{- $pod := deepCopy .Values.securityContext.pod -}}
{{- range list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- if eq (int64 (get $pod . | default 0)) 65532 }}{{ $_ := set $pod . 999 }}{{ end -}}
{{- end -}}
{{- toYaml $pod -}}
{{- end -}}

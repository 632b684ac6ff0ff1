{{/* The server's settings; the trial Redis restarts when they change. */}}
{{- define "agentpool.valkeyConf" -}}
include /etc/valkey/auth/auth.conf
dir /data
# The queue's keys must never be evicted, and what was written a second or two before a crash may be lost.
maxmemory-policy noeviction
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

{{/* The trial Redis runs as its image's own user, 999, where other pods run as the user of AgentPool's images;
     any other id, or none (for OpenShift, which chooses one), holds for it too. */}}
{{- define "agentpool.redisPodSecurity" -}}
{{- $pod := deepCopy .Values.securityContext.pod -}}
{{- range list "runAsUser" "runAsGroup" "fsGroup" -}}
{{- if eq (int64 (get $pod . | default 0)) 65532 }}{{ $_ := set $pod . 999 }}{{ end -}}
{{- end -}}
{{- toYaml $pod -}}
{{- end -}}

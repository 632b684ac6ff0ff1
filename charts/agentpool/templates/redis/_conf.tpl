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

{{/* Names, labels and images: what every object of the chart shares. */}}

{{- define "agentpool.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The prefix of all names; short enough that every suffix still makes a DNS label. A release's name may have dots,
     a Service's may not. */}}
{{- define "agentpool.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "agentpool.name" .) .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 40 | trimAll "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "agentpool.name" .) | replace "." "-" | trunc 40 | trimAll "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change, of a component: (list $ "operator"). */}}
{{- define "agentpool.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "agentpool.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end -}}

{{/* Maps as one, each key once; a later map wins over the earlier ones: (list $map $map). */}}
{{- define "agentpool.merged" -}}
{{- $merged := dict -}}
{{- range . -}}
{{- range $key, $value := . -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $merged -}}
{{- end -}}

{{/* All labels of a component, and of one object of it: (list $ "operator") or (list $ "operator" $labels).
     The user's win, but for those that selectors and Helm itself rely on. */}}
{{- define "agentpool.labels" -}}
{{- $root := index . 0 -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $own := dict "helm.sh/chart" $chart "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/part-of" "agentpool" -}}
{{- $more := dict -}}
{{- if gt (len .) 2 }}{{ $more = index . 2 }}{{ end -}}
{{- $fixed := set (fromYaml (include "agentpool.selector" .)) "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- include "agentpool.merged" (list $own $root.Values.commonLabels $more $fixed) -}}
{{- end -}}

{{/* One of AgentPool's own images: (list $ .Values.operator.image). */}}
{{- define "agentpool.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- $name := $image.repository -}}
{{- with $root.Values.imageRegistry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The name of a component's ServiceAccount: (list $ "operator"). */}}
{{- define "agentpool.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "agentpool.fullname" $root) (index . 1)) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* Whether the bundled Redis runs: "true" or nothing. */}}
{{- define "agentpool.trialRedis" -}}
{{- if and .Values.redis.enabled (not .Values.redis.existingSecret) }}true{{ end -}}
{{- end -}}

{{/* The Secret with the Redis URL that the release knows; nothing when it knows none. */}}
{{- define "agentpool.redisSecret" -}}
{{- if .Values.redis.existingSecret -}}
{{ .Values.redis.existingSecret }}
{{- else if .Values.redis.enabled -}}
{{ .Values.redis.secretName }}
{{- end -}}
{{- end -}}

{{/* The key of the URL in that Secret. */}}
{{- define "agentpool.redisSecretKey" -}}
{{- if .Values.redis.existingSecret }}{{ .Values.redis.existingSecretKey }}{{ else }}url{{ end -}}
{{- end -}}

{{/* Whether AgentPools in the release's namespace are served: "true" or nothing. */}}
{{- define "agentpool.servesOwnNamespace" -}}
{{- if or (empty .Values.watchNamespaces) (has .Release.Namespace .Values.watchNamespaces) }}true{{ end -}}
{{- end -}}

{{/* The absolute URL of the runbooks: the user's copy, or the page of this release, which gateway and operator serve. */}}
{{- define "agentpool.runbooks" -}}
{{- $path := "/docs/runbooks" -}}
{{- if .Values.metrics.prometheusRule.runbookBase -}}
{{- .Values.metrics.prometheusRule.runbookBase -}}
{{- else if and .Values.gateway.enabled .Values.gateway.externalUrl -}}
{{- printf "%s%s" (trimSuffix "/" .Values.gateway.externalUrl) $path -}}
{{- else -}}
{{- printf "http://%s-operator.%s.svc:%d%s" (include "agentpool.fullname" .) .Release.Namespace (int64 .Values.operator.port) $path -}}
{{- end -}}
{{- end -}}

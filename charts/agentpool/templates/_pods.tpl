{{/* What the pods of the operator and the gateway share. */}}

{{/* Placement and identity of a component's pods: (list $ "operator"). */}}
{{- define "agentpool.podSettings" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $part := index $root.Values $name -}}
serviceAccountName: {{ include "agentpool.serviceAccount" . | quote }}
securityContext:
  {{- toYaml $root.Values.securityContext.pod | nindent 2 }}
terminationGracePeriodSeconds: {{ $part.terminationGracePeriodSeconds | int64 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
- {{ toYaml . | nindent 2 | trim }}
  {{- if not .labelSelector }}
  labelSelector:
    matchLabels:
      {{- include "agentpool.selector" (list $root $name) | nindent 6 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volumes of a component's pods: (list $ "operator"). */}}
{{- define "agentpool.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with (index (index . 0).Values (index . 1)).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Image, environment, probes and limits of a component's container: (list $ "operator"). */}}
{{- define "agentpool.containerSettings" -}}
{{- $root := index . 0 -}}
{{- $part := index $root.Values (index . 1) -}}
image: {{ include "agentpool.image" (list $root $part.image) | quote }}
imagePullPolicy: {{ $part.image.pullPolicy | quote }}
securityContext:
  {{- toYaml $root.Values.securityContext.container | nindent 2 }}
{{- $env := default list $part.extraEnv }}
{{- if eq (index . 1) "operator" }}
{{- range $name, $path := dict "NAME" "metadata.name" "UID" "metadata.uid" }}
{{- $field := dict "apiVersion" "v1" "fieldPath" $path }}
{{- $env = append $env (dict "name" (printf "AGENTPOOL_OPERATOR_POD_%s" $name) "valueFrom" (dict "fieldRef" $field)) }}
{{- end }}
{{- end }}
{{- with $env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
- name: http
  containerPort: {{ $part.port | int64 }}
  protocol: TCP
{{- with $part.metricsPort }}
- name: metrics
  containerPort: {{ . | int64 }}
  protocol: TCP
{{- end }}
{{- /* The process listens at once and answers when ready: a slow start is no failed probe. */}}
startupProbe:
  httpGet:
    path: /healthz
    port: http
  initialDelaySeconds: 2
  periodSeconds: 1
  timeoutSeconds: 60
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: {{ ternary "/readyz?draining=ready" "/readyz" (eq (index . 1) "gateway") }}
    port: http
  periodSeconds: 2
  timeoutSeconds: 5
resources:
  {{- toYaml $part.resources | nindent 2 }}
volumeMounts:
- name: tmp
  mountPath: /tmp
{{- with $part.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A PodDisruptionBudget: (list $ "operator"). */}}
{{- define "agentpool.podDisruptionBudget" -}}
{{- $root := index . 0 -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: "{{ include "agentpool.fullname" $root }}-{{ index . 1 }}"
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "agentpool.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "agentpool.selector" . | nindent 6 }}
{{- end -}}

{{/* A ServiceAccount: (list $ "operator"). Its token is mounted by the pods that need it, not by default. */}}
{{- define "agentpool.serviceAccountObject" -}}
{{- $root := index . 0 -}}
{{- $account := (index $root.Values (index . 1)).serviceAccount -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "agentpool.serviceAccount" . | quote }}
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "agentpool.labels" . | nindent 4 }}
  {{- with $account.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

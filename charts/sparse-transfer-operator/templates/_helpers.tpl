{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that no name derived from it is cut. */}}
{{- define "operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "operator.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "operator.fullname" .) "default") -}}
{{- end -}}

{{/* An image of values; takes (list image defaultTag). */}}
{{- define "operator.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* The settings file: values.settings, and what follows from other values. */}}
{{- define "operator.settings" -}}
{{- $name := include "operator.fullname" . -}}
{{- $progress := printf "%s-progress" $name -}}
{{- $derived := dict
  "image" (include "operator.image" (list .Values.runner.image .Chart.AppVersion))
  "imagePullPolicy" .Values.runner.image.pullPolicy
  "namespace" .Release.Namespace
  "namespaces" .Values.namespaces
  "lease" (dict "name" $name)
  "progress" (dict "host" (printf "%s.%s.svc" $progress .Release.Namespace) "secret" $progress)
-}}
{{- mergeOverwrite (deepCopy .Values.settings) $derived | toYaml -}}
{{- end -}}

{{/* The endpoint of a ServiceMonitor or PodMonitor; takes its values. */}}
{{- define "operator.endpoint" -}}
port: http
path: /metrics
# Experiments' metrics name their own namespaces.
honorLabels: true
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

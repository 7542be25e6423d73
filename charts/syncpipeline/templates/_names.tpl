{{/* Name of every object of this release. Kept short, as other names begin with it. */}}
{{- define "syncpipeline.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "syncpipeline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "syncpipeline.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release. */}}
{{- define "syncpipeline.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "syncpipeline.labels" -}}
{{- $own := include "syncpipeline.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_")) -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{/*
Labels and annotations of an object, without its name:
`include "syncpipeline.metadata" (dict "root" $ "labels" .more "annotations" .more)`; the chart's own labels win.
*/}}
{{- define "syncpipeline.metadata" -}}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations -}}
labels:
  {{- merge (include "syncpipeline.labels" .root | fromYaml) (.labels | default dict) | toYaml | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Image reference: `include "syncpipeline.image" (dict "root" $ "name" "operator")`. */}}
{{- define "syncpipeline.image" -}}
{{- $images := .root.Values.images -}}
{{- $tag := default .root.Chart.AppVersion $images.tag -}}
{{- default (printf "%s/%s:%s" $images.registry .name $tag) (get $images .name) -}}
{{- end -}}

{{/* The subject of every binding. */}}
{{- define "syncpipeline.subjects" -}}
- kind: ServiceAccount
  name: {{ include "syncpipeline.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Names of this release's objects: its own name, with the chart's before it unless that is in it. */}}
{{- define "breezeblock.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "breezeblock.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "breezeblock.labels" -}}
{{ include "breezeblock.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "breezeblock.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What would be refused, or open to everybody, in every pod: said once, before anything is installed. */}}
{{- define "breezeblock.check" -}}
{{- if not (kindIs "string" .Values.settings) -}}
{{- fail "settings: expected the text of a settings file (TOML), as in `settings: |`" -}}
{{- end -}}
{{- if not (regexMatch "(?m)^\\s*strategy\\s*=\\s*[\"'](http_basic|keystone)[\"']" .Values.settings) -}}
{{- fail "settings: expected strategy = \"http_basic\" or \"keystone\" in [auth], since pods are called from outside; none believes every caller" -}}
{{- end -}}
{{- if not .Values.database.secretName -}}
{{- fail "database.secretName: expected the name of a Secret with the database's URL: kubectl create secret generic NAME --from-literal=url='postgresql://USER:PASSWORD@HOST/breezeblock'" -}}
{{- end -}}
{{- if not (regexMatch "(?m)^\\s*\\[backends\\." .Values.settings) -}}
{{- fail "settings: expected at least one [backends.NAME], with a path on a volume of extraVolumes and with a fence" -}}
{{- end -}}
{{- end -}}

{{/* Pods are made anew when it changes. The check is here too: which template is rendered first is not ours to say. */}}
{{- define "breezeblock.settingsSum" -}}
{{- include "breezeblock.check" . -}}
{{- .Values.settings | sha256sum -}}
{{- end -}}

{{/* The environment of both kinds of pods. */}}
{{- define "breezeblock.env" -}}
- name: BREEZEBLOCK_CONFIG
  value: /etc/breezeblock/breezeblock.toml
- name: BREEZEBLOCK_DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.secretName }}
      key: {{ .Values.database.secretKey }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "breezeblock.mounts" -}}
- name: settings
  mountPath: /etc/breezeblock
  readOnly: true
- name: data
  mountPath: /var/lib/breezeblock
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a node must find again after a restart is in the database and on its backends: the rest may go with the pod. */}}
{{- define "breezeblock.volumes" -}}
- name: settings
  configMap:
    name: {{ include "breezeblock.fullname" . }}
- name: data
  emptyDir: {}
- name: tmp
  emptyDir: {}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "breezeblock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

package main

// The configurations of the proxies, each as its documentation has it for gRPC, with
// logs off, connections to the backends kept, and two workers.

// Its breaker's and mirror's settings are the defaults; a dead challenger is found by the
// breaker. Records are made and dropped at once, for the address of the broker has
// nobody: what recording costs is measured apart.
const understudyScript = `listen: {grpc: "{{.Listen}}", admin: "{{.Admin}}"}
models:
  - name: risk
    routingKey: [parameter:user_id]
    champion: {target: "{{.Champion}}", model: risk, version: "1"}
{{- if ne .Mode "champion"}}
    challenger: {target: "{{.Challenger}}", model: risk, version: "2", maxInFlight: 1024}
    gates: []
    record: {sample: 0%}
{{- if eq .Mode "shadow"}}
    shadow: {sample: {{if .Uncopied}}0.01{{else}}100{{end}}%, maxInFlight: 256, maxBytes: 64MiB}
    plan: [{shadow: {bake: 10h}}, {setWeight: 50}, {pause: {}}]
{{- else}}
    shadow: {sample: 0%}
    plan: [{setWeight: {{.Weight}}}, {pause: {}}]
{{- end}}
sink: {kafka: {brokers: ["127.0.0.1:1"]}, maxQueueBytes: 1MiB}
{{- end}}
store: {path: "{{.Dir}}/state.db"}
admin: {audit: "{{.Dir}}/audit.jsonl"}
shutdown: 1s
`

const nginxScript = `{{with .User}}user {{.}};{{end}}
worker_processes 2;
daemon off;
pid {{.Dir}}/pid;
error_log {{.Dir}}/error.log error;
events { worker_connections 4096; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path {{.Dir}}/body;
  proxy_temp_path {{.Dir}}/proxy;
  fastcgi_temp_path {{.Dir}}/fastcgi;
  uwsgi_temp_path {{.Dir}}/uwsgi;
  scgi_temp_path {{.Dir}}/scgi;
  http2_max_concurrent_streams 1024;
  keepalive_requests 1000000000;
  upstream champion { server {{.Champion}}; keepalive 256; keepalive_requests 1000000000; }
  upstream challenger { server {{.Challenger}}; keepalive 256; keepalive_requests 1000000000; }
{{- if .Weight}}
  split_clients $request_id $arm { {{.Weight}}% challenger; * champion; }
{{- end}}
  server {
    listen {{.Listen}} http2;
    location / {
{{- if .Mirror}}
      mirror /mirror;
{{- end}}
      grpc_pass grpc://{{if .Weight}}$arm{{else}}champion{{end}};
    }
    location = /mirror {
      internal;
      rewrite ^ /inference.GRPCInferenceService/ModelInfer break;
      grpc_pass grpc://challenger;
    }
  }
}
`

const haproxyScript = `global
  nbthread 2
  maxconn 4096
  tune.h2.max-concurrent-streams 1024
defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
frontend clients
  bind {{.Listen}} proto h2
  default_backend models
backend models
  server champion {{.Champion}} proto h2 weight {{.Rest}}
{{- if .Weight}}
  server challenger {{.Challenger}} proto h2 weight {{.Weight}}
{{- end}}
`

const envoyScript = `static_resources:
  listeners:
  - address: {socket_address: {address: {{.Part .Listen "host"}}, port_value: {{.Part .Listen "port"}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: HTTP2
          http2_protocol_options: {max_concurrent_streams: 1024}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: "/"}
                route:
                  timeout: 0s
                  max_stream_duration: {grpc_timeout_header_max: 0s}
{{- if .Mirror}}
                  request_mirror_policies: [{cluster: challenger}]
{{- end}}
{{- if .Weight}}
                  weighted_clusters: {clusters: [{name: champion, weight: {{.Rest}}}, {name: challenger, weight: {{.Weight}}}]}
{{- else}}
                  cluster: champion
{{- end}}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
{{- range $name, $addr := .Clusters}}
  - name: {{$name}}
    type: STATIC
    connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: {{$name}}
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: {{$.Part $addr "host"}}, port_value: {{$.Part $addr "port"}}}}}}]}]
{{- end}}
`

// Clusters are the model servers by name.
func (p play) Clusters() map[string]string {
	return map[string]string{"champion": p.Champion, "challenger": p.Challenger}
}

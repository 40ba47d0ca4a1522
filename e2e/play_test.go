package e2e

import "text/template"

// play is one test's configuration, the parts that differ between tests.
type play struct {
	Champion, Challenger string // addresses
	Brokers              []string
	Topic, Dir           string

	Timeout       string // of the challenger
	MaxInFlight   int    // of the challenger
	MirrorCap     int
	MirrorTimeout string
	Plan          string
	Gates         string // the list; empty for none
	Segments      string // likewise
	Repeat        string // the share; empty for none
	OpenFor       string
	MaxMessage    string
	MaxRecord     string
	Spool         string // the mapping; empty for none
	Record        string // likewise
	Inputs        string // the list; empty for none
	Outcomes      string // the mapping; empty for none
}

var script = template.Must(template.New("yaml").Parse(`
listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0"}
limits: {maxMessageBytes: {{.MaxMessage}}}
shutdown: 10s
models:
  - name: risk
    champion:   {target: "{{.Champion}}", model: risk-v1, version: "1"}
    challenger: {target: "{{.Challenger}}", model: risk-v2, version: "2", timeout: {{.Timeout}}, maxInFlight: {{.MaxInFlight}}}
    routingKey: [parameter:user_id]
    compare:
      - {output: probability, as: score, atol: 0.1}
      - {output: label, as: class}
    shadow: {sample: 100%, maxInFlight: {{.MirrorCap}}, timeout: {{.MirrorTimeout}}, repeat: {{or .Repeat "0%"}}}
    plan: {{.Plan}}
    gates: {{or .Gates "[]"}}
{{with .Segments}}    segments: {{.}}
{{end}}{{with .Record}}    record: {{.}}{{end}}
{{with .Inputs}}    inputs: {{.}}
{{end}}    breaker: {consecutiveFailures: 10, failureRatio: 50%, minRequests: 20, window: 10s, openFor: {{.OpenFor}}}
    fallback: champion
sink:
  kafka: {brokers: [{{range .Brokers}}"{{.}}",{{end}}], topic: {{.Topic}}, maxRecordBytes: {{.MaxRecord}}}
{{with .Spool}}  spool: {{.}}{{end}}
store: {path: "{{.Dir}}/state.db"}
admin: {audit: "{{.Dir}}/audit.jsonl"}
{{with .Outcomes}}outcomes: {{.}}
{{end}}`))

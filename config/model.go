package config

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-serving/understudy/rollout"
)

// defaultMinRequests is the least evidence of a step whose file names none. Fewer
// than a hundred requests could hide a failure of one in thirty.
const defaultMinRequests = 100

// defaultTolerance is both tolerances of a score whose rule names neither, as of an
// output without a rule: what float32 arithmetic in another order explains.
const defaultTolerance = 1e-6

func (d *document) models(root object, c *Config) {
	root.need("models", "a list with at least one model")
	n, ok := root.fields["models"]
	if !ok {
		return
	}
	elements, ok := n.list("models, each with name and champion")
	if ok && len(elements) == 0 {
		n.fail("is an empty list; want at least one model")
	}
	names := map[string]int{}
	for _, e := range elements {
		m, ok := d.model(e)
		if !ok {
			continue
		}
		if first, twice := names[m.Name]; twice && m.Name != "" {
			e.fail("name %q is taken by the model in line %d; want a name of its own", m.Name, first)
		}
		names[m.Name] = e.line()
		c.Models = append(c.Models, m)
	}
}

func (d *document) model(n node) (m Model, ok bool) {
	o, ok := n.object(keys{
		known: []string{"name", "champion", "challenger", "routingKey", "compare", "record", "shadow", "plan", "breaker", "fallback",
			"alpha", "segments", "maxCohorts", "warmUp", "gates", "inputs"},
		hints: map[string]string{"steps": "the steps stand under plan"},
	})
	if !ok {
		return m, false
	}
	o.need("name", "the name that clients put in model_name")
	o.name("name", &m.Name)
	o.need("champion", "a mapping with target")
	if a, ok := o.fields["champion"]; ok {
		m.Champion = d.champion(a, m.Name)
	}
	if a, ok := o.fields["challenger"]; ok {
		m.Challenger = d.challenger(a, m.Name)
		if m.Challenger != nil && m.Challenger.Spec == m.Champion.Spec && m.Champion.Spec.Target != "" {
			// No error: a file that finishes a promotion may still have the block, and must not stop a start.
			d.warn(a.line(), a.path, "is the champion itself, %s: nothing is rehearsed; name another target, model or version, or take the block out", m.Champion.Spec)
			m.Challenger = nil
		}
	}
	m.RoutingKey = o.sources("routingKey")
	m.Compare = d.compare(o)
	m.Record = d.record(o)
	m.Shadow = d.shadow(o)
	gates, whole := d.rules(o, &m)
	m.Rules.Inputs = d.inputs(o)
	m.Plan = d.plan(o, &m, gates, whole)
	d.warnUnjudged(o, m)
	m.Breaker = d.breaker(o)
	m.Fallback = "champion"
	o.choice("fallback", &m.Fallback, []string{"champion"}, []string{"none"})
	return m, true
}

// name reads a key as a model's name or version, which go into metric labels.
func (o object) name(key string, dst *string) {
	const most = 200
	o.string(key, dst, "a name")
	if n, ok := o.fields[key]; ok && len(*dst) > most {
		n.fail("is %d bytes long; want at most %d", len(*dst), most)
	}
}

func (d *document) champion(n node, model string) (a Arm) {
	const why = "a champion has all the time and room that its callers have; this belongs to the challenger"
	if o, ok := n.object(keys{
		known: []string{"target", "model", "version", "tls"},
		hints: map[string]string{"timeout": why, "maxInFlight": why},
	}); ok {
		o.arm(&a, model)
	}
	return a
}

// challenger returns nil where the value is no mapping.
func (d *document) challenger(n node, model string) *Arm {
	o, ok := n.object(keys{known: []string{"target", "model", "version", "tls", "timeout", "maxInFlight"}})
	if !ok {
		return nil
	}
	a := &Arm{Timeout: 200 * time.Millisecond, MaxInFlight: 64}
	o.arm(a, model)
	o.duration("timeout", &a.Timeout, leastTime, mostTime)
	count(o, "maxInFlight", &a.MaxInFlight, 1, mostCount)
	return a
}

// arm reads what both arms have. An arm's model is called as the public one unless
// the file says otherwise.
func (o object) arm(a *Arm, model string) {
	o.need("target", wantTarget)
	if n, ok := o.fields["target"]; ok {
		a.Spec.Target = n.target()
	}
	a.Spec.Model = model
	o.name("model", &a.Spec.Model)
	o.name("version", &a.Spec.Version)
	a.TLS = o.tlsClient()
}

const wantTarget = `a gRPC target, such as "dns:///fraud-v1:8081", "10.0.0.7:8081" or "unix:///run/model.sock"`

// target reads a gRPC target: host:port, or one with a scheme that needs no more setup.
func (n node) target() string {
	s, ok := n.text(wantTarget)
	if !ok {
		return ""
	}
	if !validTarget(s) {
		n.fail("is %s; want %s", n.describe(), wantTarget)
		return ""
	}
	return s
}

// schemePrefix is the beginning of a target that names its resolver. A host:port
// looks like one too, so that the known schemes are compared, not guessed.
var schemePrefix = regexp.MustCompile(`^(dns|passthrough|ipv4|ipv6|unix|unix-abstract):(.*)$`)

func validTarget(s string) bool {
	m := schemePrefix.FindStringSubmatch(s)
	if m == nil {
		return !strings.Contains(s, "/") && isHostPort(s)
	}
	scheme, rest := m[1], m[2]
	if strings.HasPrefix(rest, "//") {
		// The authority, between // and /, is a DNS server's or empty.
		u, err := url.Parse(s)
		if err != nil || (u.Host != "" && scheme != "dns") {
			return false
		}
		rest = u.Path
		if scheme != "unix" {
			rest = strings.TrimPrefix(rest, "/")
		}
	}
	switch scheme {
	case "unix", "unix-abstract":
		return strings.Trim(rest, "/") != ""
	case "ipv4", "ipv6":
		return !slices.ContainsFunc(strings.Split(rest, ","), func(s string) bool { return !isHostPort(s) })
	}
	return isHostPort(rest)
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	return err == nil && host != "" && !strings.ContainsAny(host, "/ ") && isPort(port, 1)
}

// metadataKey is what gRPC allows in the name of request metadata, in lower case.
var metadataKey = regexp.MustCompile(`^[a-z0-9_.-]+$`)

// isHeader tells whether a client can send this metadata key.
func isHeader(s string) bool {
	return metadataKey.MatchString(s) && !strings.HasPrefix(s, "grpc-")
}

// sources reads a key as a list of places in a request.
func (o object) sources(key string) (sources []KeySource) {
	const want = `"parameter:NAME" or "header:NAME", such as "header:x-user-id"`
	n, ok := o.fields[key]
	if !ok {
		return nil
	}
	elements, _ := n.list(want)
	for _, e := range elements {
		s, ok := e.text(want)
		if !ok {
			continue
		}
		kind, name, _ := strings.Cut(s, ":")
		if kind == FromHeader {
			name = strings.ToLower(name)
		}
		source := KeySource{Kind: kind, Name: name}
		switch {
		case name == "" || kind != FromParameter && kind != FromHeader || kind == FromHeader && !isHeader(name):
			e.fail("is %s; want %s", e.describe(), want)
		case slices.Contains(sources, source):
			e.fail("%s stands here twice", source)
		default:
			sources = append(sources, source)
		}
	}
	return sources
}

func (d *document) compare(o object) (rules []rollout.CompareRule) {
	n, ok := o.fields["compare"]
	if !ok {
		return nil
	}
	elements, _ := n.list("rules, each with output and as")
	for _, e := range elements {
		r, ok := d.compareRule(e)
		if !ok {
			continue
		}
		if slices.ContainsFunc(rules, func(before rollout.CompareRule) bool { return before.Output == r.Output }) && r.Output != "" {
			e.fail("output %q has a rule already; want one an output", r.Output)
		}
		rules = append(rules, r)
	}
	return rules
}

func (d *document) compareRule(n node) (r rollout.CompareRule, ok bool) {
	o, ok := n.object(keys{known: []string{"output", "as", "atol", "rtol"}})
	if !ok {
		return r, false
	}
	kinds := []string{string(rollout.CompareScore), string(rollout.CompareClass), string(rollout.CompareExact), string(rollout.CompareIgnore)}
	o.need("output", "the output tensor's name")
	o.string("output", &r.Output, "the output tensor's name")
	o.need("as", oneOf(kinds))
	var kind string
	o.choice("as", &kind, kinds, []string{"embedding"})
	r.Kind = rollout.CompareKind(kind)
	if r.Kind == rollout.CompareScore && !o.has("atol") && !o.has("rtol") {
		r.ATol, r.RTol = defaultTolerance, defaultTolerance
	}
	for _, key := range []string{"atol", "rtol"} {
		if t, ok := o.fields[key]; ok && kind != "" && r.Kind != rollout.CompareScore {
			t.fail("a tolerance is for scores; remove it, or compare as score")
		}
	}
	o.tolerance("atol", &r.ATol)
	o.tolerance("rtol", &r.RTol)
	return r, true
}

func (d *document) shadow(model object) Shadow {
	s := Shadow{Sample: rollout.FullWeight, MaxInFlight: 256, MaxBytes: 256 << 20, Timeout: 2 * time.Second}
	o, ok := model.section("shadow", keys{known: []string{"sample", "maxInFlight", "maxBytes", "timeout", "repeat", "stripHeaders"}})
	if !ok {
		return s
	}
	for key, share := range map[string]*rollout.Weight{"sample": &s.Sample, "repeat": &s.Repeat} {
		if n, ok := o.fields[key]; ok {
			if w, ok := n.weight(`a percentage with its sign and at most two decimals, such as "100%" or "12.5%"`, false); ok {
				*share = w
			}
		}
	}
	count(o, "maxInFlight", &s.MaxInFlight, 1, mostCount)
	size(o, "maxBytes", &s.MaxBytes, 1<<10, mostBytes)
	o.duration("timeout", &s.Timeout, leastTime, mostTime)
	if n, ok := o.fields["stripHeaders"]; ok {
		s.StripHeaders = n.headers()
	}
	return s
}

// headers reads a list of metadata keys, in any case.
func (n node) headers() (names []string) {
	const want = `the name of a header, such as "x-api-key"`
	elements, _ := n.list(want)
	for _, e := range elements {
		if s, ok := e.text(want); ok {
			if s = strings.ToLower(s); !isHeader(s) {
				e.fail("is %s; want %s", e.describe(), want)
				continue
			}
			names = append(names, s)
		}
	}
	return names
}

func (d *document) breaker(model object) Breaker {
	b := Breaker{ConsecutiveFailures: 10, FailureRatio: 0.5, MinRequests: 20, Window: 10 * time.Second, OpenFor: 10 * time.Second}
	o, ok := model.section("breaker", keys{known: []string{"consecutiveFailures", "failureRatio", "minRequests", "window", "openFor"}})
	if !ok {
		return b
	}
	count(o, "consecutiveFailures", &b.ConsecutiveFailures, 1, mostCount)
	count(o, "minRequests", &b.MinRequests, 1, mostCount)
	o.duration("window", &b.Window, 100*time.Millisecond, mostTime)
	o.duration("openFor", &b.OpenFor, 10*time.Millisecond, mostTime)
	if n, ok := o.fields["failureRatio"]; ok {
		const want = `a percentage with its sign, more than 0% and at most 100%, such as "50%"`
		switch w, ok := n.weight(want, false); {
		case ok && w == 0:
			n.fail("is 0%%; want %s", want)
		case ok:
			b.FailureRatio = float64(w) / float64(rollout.FullWeight)
		}
	}
	return b
}

// empty tells whether the value is `{}`.
func (n node) empty() bool {
	m, ok := n.value.(*ast.MappingNode)
	return ok && len(m.Values) == 0
}

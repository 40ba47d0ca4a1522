package config

import (
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// gate is a gate as the file has it.
type gate struct {
	rollout.Gate
	// alpha is the named part of the model's alpha, in millionths; 0 where none is named.
	alpha int64
	at    object
}

// metric is what the file may say of a gate that looks at it.
type metric struct {
	name rollout.Metric
	// keys are those beside commonGateKeys.
	keys []string
	// live metrics are judged in canary alone.
	live bool
	// onFail is the default.
	onFail rollout.Reaction
}

var metrics = []metric{
	{name: rollout.ErrorRate, keys: []string{"allowedIncrease"}, onFail: rollout.RollBack},
	{name: rollout.SlowRate, keys: []string{"slowerThan", "allowedIncrease"}, live: true, onFail: rollout.RollBack},
	{name: rollout.TailLatency, keys: []string{"allowedIncrease"}, live: true, onFail: rollout.RollBack},
	{name: rollout.Disagreement, keys: []string{"max"}, onFail: rollout.RollBack},
	{name: rollout.ExcessDisagreement, keys: []string{"allowedIncrease"}, onFail: rollout.RollBack},
	{name: rollout.ScoreShift, keys: []string{"output", "max", "range"}, onFail: rollout.RollBack},
	{name: rollout.Drift, keys: []string{"output", "max"}, onFail: rollout.Hold},
	{name: rollout.ReportedOutcome, keys: []string{"outcome", "as", "absent", "range", "allowedIncrease", "allowedDecrease"}, live: true, onFail: rollout.RollBack},
}

var (
	commonGateKeys = []string{"metric", "horizon", "minRequests", "dryRun", "modes", "onFail", "alpha"}
	boundKeys      = []string{"allowedIncrease", "allowedDecrease", "slowerThan", "output", "max", "range", "outcome", "as", "absent"}
)

// gate reads one element of a list of gates. ok is false where it is not known which gate
// it is.
func (d *document) gate(n node) (g gate, ok bool) {
	o, ok := n.object(keys{
		known: slices.Concat(commonGateKeys, boundKeys),
		hints: map[string]string{
			"warmUp":    "the warm-up is the model's, beside gates",
			"name":      "a gate is named by its metric and, where it has one, its output",
			"threshold": "the bound is called allowedIncrease where the champion is the measure, max where a number is",
		},
	})
	if !ok {
		return g, false
	}
	m, ok := o.metric()
	if !ok {
		return g, false
	}
	o.onlyKeysOf(m)
	g = gate{at: o, Gate: rollout.Gate{Metric: m.name, Horizon: 5 * time.Second, MinRequests: defaultMinRequests, OnFail: m.onFail}}
	longest := time.Minute
	if g.Late() {
		g.Horizon, longest = defaultOutcomeHorizon, mostOutcomeHorizon
	}
	o.duration("horizon", &g.Horizon, 100*time.Millisecond, longest)
	count(o, "minRequests", &g.MinRequests, 1, mostCount)
	o.bool("dryRun", &g.DryRun)
	g.InShadow, g.InCanary = o.gateModes(m)
	o.reaction("onFail", &g.OnFail)
	o.percentage("alpha", &g.alpha, mostAlpha, "0.25%")
	if a, ok := o.fields["alpha"]; ok && !g.Spends() {
		a.fail("a gate that rolls nothing back by its evidence (a dry run, `onFail: hold`, drift) has no part of alpha; remove it")
	}
	o.bounds(&g.Gate)
	return g, true
}

// metric reads which gate it is.
func (o object) metric() (m metric, ok bool) {
	var names []string
	for _, m := range metrics {
		names = append(names, string(m.name))
	}
	name := ""
	o.need("metric", oneOf(names))
	o.choice("metric", &name, names, nil)
	if name == "" {
		return m, false
	}
	return metrics[slices.Index(names, name)], true
}

// onlyKeysOf refuses the keys of other metrics.
func (o object) onlyKeysOf(m metric) {
	for _, key := range boundKeys {
		n, ok := o.fields[key]
		if !ok || slices.Contains(m.keys, key) {
			continue
		}
		var owners []string
		for _, other := range metrics {
			if slices.Contains(other.keys, key) {
				owners = append(owners, string(other.name))
			}
		}
		n.fail("is a key of %s; %s has %s", strings.Join(owners, ", "), m.name, strings.Join(m.keys, ", "))
	}
	if n, ok := o.fields["horizon"]; ok && m.name == rollout.SlowRate {
		n.fail("slow-rate is judged at slowerThan, which is its horizon; remove it")
	}
}

// gateModes reads the modes that a gate judges.
func (o object) gateModes(m metric) (shadow, canary bool) {
	n, ok := o.fields["modes"]
	if !ok {
		return !m.live, true
	}
	want := `"shadow" or "canary"`
	if m.live {
		want = `"canary"`
	}
	elements, ok := n.list(want)
	if ok && len(elements) == 0 {
		n.fail("is an empty list; want %s", want)
	}
	in := map[string]bool{}
	for _, e := range elements {
		s, ok := e.text(want)
		switch {
		case !ok:
		case in[s]:
			e.fail("%s stands here twice", s)
		case s == "shadow" && m.live:
			why := "a mirror meets warm caches, so latency in shadow is for display"
			if m.name == rollout.ReportedOutcome {
				why = "in shadow users meet the champion's predictions alone"
			}
			e.fail("%s; want %s", why, want)
		case s != "shadow" && s != "canary":
			e.fail("is %s; want %s", e.describe(), want)
		}
		in[s] = true
	}
	return in["shadow"], in["canary"]
}

// bounds reads the keys that are the metric's own.
func (o object) bounds(g *rollout.Gate) {
	switch g.Metric {
	case rollout.ErrorRate, rollout.TailLatency, rollout.ExcessDisagreement:
		o.allowedIncrease(g)
	case rollout.SlowRate:
		o.need("slowerThan", "the time, such as 150ms, after which an answer is slow")
		o.duration("slowerThan", &g.SlowerThan, leastTime, time.Minute)
		g.Horizon = g.SlowerThan
		o.allowedIncrease(g)
	case rollout.Disagreement:
		var most int64
		o.need("max", `a share of the pairs, such as "2%"`)
		o.percentage("max", &most, million-1, "2%")
		g.Limit = fraction(most)
	case rollout.ScoreShift:
		o.output(g)
		o.scoreShift(g)
	case rollout.Drift:
		g.Limit = 0.25
		o.output(g)
		o.number("max", &g.Limit, 0.001, 10, "0.25")
	case rollout.ReportedOutcome:
		o.outcome(g)
	}
}

func (o object) output(g *rollout.Gate) {
	const want = "the name of an output tensor that is compared as score"
	o.need("output", want)
	o.string("output", &g.Output, want)
}

func (o object) scoreShift(g *rollout.Gate) {
	const least, most = 1e-6, 1e9
	g.Range = 1
	o.need("max", "a difference of the output's values, such as 0.02")
	o.number("max", &g.Limit, least, most, "0.02")
	o.number("range", &g.Range, least, most, "1")
	if g.Limit < g.Range {
		return
	}
	at, named := o.fields["range"]
	if !named {
		at = o.fields["max"]
	}
	at.fail("max is %v and range %v, to which differences are clamped: none could exceed max; want a range of more than max, near the real range of the differences",
		g.Limit, g.Range)
}

// allowedIncrease reads how much worse than the champion a gate lets the challenger be.
func (o object) allowedIncrease(g *rollout.Gate) { o.margin("allowedIncrease", g) }

// margin reads a key as a share, or as a part of the champion's.
func (o object) margin(key string, g *rollout.Gate) {
	want := `percentage points, less than 100, such as "2pp", or up to 1000% of the champion's rate, such as "10%", with at most four decimals`
	if g.Metric == rollout.TailLatency {
		want = `up to 1000% of the champion's 99th percentile, such as "25%", with at most four decimals`
	}
	o.need(key, want)
	n, ok := o.fields[key]
	if !ok {
		return
	}
	s, ok := n.text(want)
	if !ok {
		return
	}
	digits, points := strings.CutSuffix(s, "pp")
	most := int64(million - 1)
	if !points {
		digits, g.Relative = strings.CutSuffix(s, "%")
		most = 10 * million
	}
	v, ok := parseMillionths(digits)
	switch {
	case points && g.Metric == rollout.TailLatency:
		n.fail("is %s, but percentage points are of shares and a latency is a time; want %s", n.describe(), want)
	case !points && !g.Relative, !ok, v > most:
		n.fail("is %s; want %s", n.describe(), want)
	case v == 0:
		n.fail("is %s, and no data could show that little; want more: %s", n.describe(), want)
	}
	g.Margin = fraction(v)
}

// reaction reads a key as what follows.
func (o object) reaction(key string, dst *rollout.Reaction) {
	s := string(*dst)
	o.choice(key, &s, []string{string(rollout.RollBack), string(rollout.Hold)}, nil)
	*dst = rollout.Reaction(s)
}

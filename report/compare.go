package report

import (
	"slices"
	"strings"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/shadow"
)

// Why a record has no comparison, where both arms gave a prediction.
const (
	cutUncompared       = "payloads cut, not compared"
	unsampledUncompared = "payloads not recorded, not compared"
	redactedUncompared  = "outputs redacted, not compared"
	notRecorded         = "predictions not recorded"
)

// compare returns what the predictions differ in: anew where the record has both, with the
// gateway's own code, else as the record says; nil where neither can be. It counts which.
func (p *played) compare(r *record, rules *Rules, by *comparers) *rollout.Comparison {
	a := &p.Agreement
	if why := uncompared(r); why != "" {
		bump(a.NotCompared, why)
		return nil
	}
	c := r.comparison
	if r.whole() {
		c = by.of(p.Configured, r, rules).Compare(payload(r.champion.response), payload(r.challenger.response))
		a.Recomputed++
		a.Otherwise += one(r.comparison != nil && r.comparison.Agree != c.Agree)
	}
	a.Compared++
	a.Differ += one(!c.Agree)
	return c
}

// uncompared says why a record can't be compared; empty where it can.
func uncompared(r *record) string {
	switch {
	case r.champion.absent != "":
		return "champion " + r.champion.absent
	case r.challenger.absent != "":
		return "challenger " + r.challenger.absent
	case r.comparison != nil || r.whole():
		return ""
	case r.cut:
		return cutUncompared
	case r.unsampled:
		return unsampledUncompared
	case r.redacted:
		return redactedUncompared
	}
	return notRecorded
}

// whole tells whether both predictions are there with all of their contents.
func (r *record) whole() bool {
	return r.champion.response != nil && r.challenger.response != nil && !r.redacted
}

func payload(b []byte) *rollout.Payload { return rollout.NewPayload([][]byte{b}, nil) }

// comparers are the comparers in use, by model, or for models without rules of their own by
// what their records say of outputs.
type comparers map[string]*shadow.Comparer

// mostComparers bounds what records can make; one beyond is made each time.
const mostComparers = 256

// of returns the comparer for a record. Without rules an output is compared as the record's
// own comparison says that it was, with the default tolerance; one that is not in it was
// ignored. See shadow.Comparer for outputs of a record without one.
func (c *comparers) of(configured bool, r *record, rules *Rules) *shadow.Comparer {
	key := "\x00" + r.model
	var found []rollout.CompareRule
	if configured {
		found = rules.Compare
	} else {
		found = recordedRules(r)
		key = keyOf(found)
	}
	if known := (*c)[key]; known != nil {
		return known
	}
	made, err := shadow.NewComparer(found)
	if err != nil { // of a strange record; a config's were checked
		made, _ = shadow.NewComparer(nil)
	}
	if *c == nil {
		*c = comparers{}
	}
	if len(*c) < mostComparers {
		(*c)[key] = made
	}
	return made
}

// recordedRules are what a record's comparison tells of the rules that made it: not the
// tolerances. Outputs that it does not name were ignored.
func recordedRules(r *record) (rules []rollout.CompareRule) {
	if r.comparison == nil || r.comparison.Error != "" {
		return nil
	}
	for _, o := range r.comparison.Outputs {
		rule := rollout.CompareRule{Output: o.Output, Kind: o.Kind}
		if o.Kind == rollout.CompareScore {
			rule.ATol, rule.RTol = shadow.DefaultTolerance, shadow.DefaultTolerance
		}
		rules = append(rules, rule)
	}
	for _, response := range [...][]byte{r.champion.response, r.challenger.response} {
		outputs, _ := oip.Outputs(payload(response))
		for i := range outputs {
			name := outputs[i].Name
			if !slices.ContainsFunc(rules, func(known rollout.CompareRule) bool { return known.Output == name }) {
				rules = append(rules, rollout.CompareRule{Output: name, Kind: rollout.CompareIgnore})
			}
		}
	}
	return rules
}

func keyOf(rules []rollout.CompareRule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(string(r.Kind) + "\x00" + r.Output + "\x00")
	}
	return b.String()
}

package canary

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// See counts a request's inputs. It is for the mirror, off the data path.
func (e *Evidence) See(x rollout.Sighting) {
	if e.bench != nil {
		e.bench.see(x, xxhash.Sum64String(x.Key))
	}
}

func (b *bench) see(x rollout.Sighting, hash uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.checkpoint.Inputs.See(x, hash) {
		b.dirty = true
		b.unread.Store(true)
	}
}

// shiftInWords is such as "features[3] PSI 0.81 (by chance about 0.02) of 130 against 812".
func shiftInWords(s rollout.InputShift) string {
	return fmt.Sprintf("%s PSI %.2g (by chance about %.2g) of %s against %s", s.Feature, s.PSI, s.Expected, gate.Number(s.Of), gate.Number(s.To))
}

// namedInputs is how many inputs a message names.
const namedInputs = 3

func listed(names []string) string {
	if more := len(names) - namedInputs; more > 0 {
		return strings.Join(names[:namedInputs], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// unlike says which inputs differ between the arms, and what that may come from; "" where
// none do.
func unlike(j rollout.Judgement) string {
	var byKey, byRequest []string
	for _, s := range j.Inputs {
		switch {
		case !s.Uneven():
		case s.Against == rollout.AgainstChampionByKey:
			byKey = append(byKey, shiftInWords(s))
		default:
			byRequest = append(byRequest, shiftInWords(s))
		}
	}
	switch {
	case len(byKey) > 0:
		return "the arms get different inputs, key by key, which the split does not explain: look for broken routing or lost requests: " + listed(byKey)
	case len(byRequest) > 0:
		return "the arms get different inputs, for some routing keys that come often go with them; what differs between the arms may be the traffic's doing: choose another routingKey: " + listed(byRequest)
	}
	return ""
}

// unevenInputs is what keeps a step whose arms must get the same inputs.
func unevenInputs(j rollout.Judgement) []string {
	var names []string
	named := map[string]bool{}
	for _, s := range j.Inputs {
		switch {
		case !s.Holds() || named[s.Feature]:
			continue
		case s.Shifted:
			names = append(names, shiftInWords(s))
		default:
			names = append(names, fmt.Sprintf("%s: not enough to say, %s of the challenger's and %s of the champion's", s.Feature, gate.Number(s.Of), gate.Number(s.To)))
		}
		named[s.Feature] = true
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"the same inputs on both arms: " + listed(names)}
}

// tellUnlike tells the log, once a rollout, that the arms' inputs differ. m.mu is held.
func (c *Conductor) tellUnlike(m *model, s rollout.State, j rollout.Judgement) {
	if why := unlike(j); why != "" && m.unlike != s.Rollout {
		m.unlike = s.Rollout
		c.o.Logger.Warn(why, "model", m.name)
	}
}

// collectInputs tells of the inputs of which there are enough to say anything.
func (m *conductorMetrics) collectInputs(ch chan<- prometheus.Metric, s rollout.State, j rollout.Judgement) {
	if j.Entered != s.Entered {
		return
	}
	for _, in := range j.Inputs {
		if in.Enough {
			ch <- prometheus.MustNewConstMetric(m.inputs, prometheus.GaugeValue, in.PSI, s.Model, in.Feature, string(in.Against))
		}
	}
}

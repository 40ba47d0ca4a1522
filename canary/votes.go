package canary

import (
	"iter"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// count adds a trial of the age that its gate wants to the counts: to those of a fail,
// unless its key has had a bad event, for one key's failures are one failure; and to those
// of a pass, if it is its key's first at this step.
func (b *bench) count(i int, g *rollout.Gate, x *trial, delta *gate.Counts) {
	live, copied := within(x.live.Load(), g.Horizon), within(x.mirrored.Load(), g.Horizon)
	var vote gate.Vote
	var isBad bool
	switch {
	case g.Metric == rollout.ScoreShift || g.Metric == rollout.Drift:
		vote = scored(g, x, copied)
	case g.Metric == rollout.Disagreement:
		vote, isBad = agreed(copied)
	case g.Metric == rollout.ExcessDisagreement:
		vote, isBad = repeated(copied, within(x.repeated.Load(), g.Horizon))
	case g.Paired(x.step.mode):
		vote, isBad = rehearsed(live, copied)
	case x.canaries():
		vote, isBad = performed(g, x, live)
	}
	if vote == nil {
		return
	}
	at := delta.Step(x.step.entered, gate.Step{Index: x.step.index, Mode: x.step.mode, Weight: x.step.weight})
	at.Slow = time.Duration(x.step.slow.Load())
	if g.Latency() && x.at < x.step.warm {
		for k := range b.series(i, x.cohorts) {
			vote(at.WarmUp(k))
		}
		return
	}
	paired := g.Paired(x.step.mode)
	known := x.keyed && (b.checkpoint.Bad[i].Has(x.key) || !paired && b.worn[i] && !x.fresh)
	if isBad && x.keyed && b.checkpoint.Bad[i].Put(x.key) && !paired {
		b.checkpoint.Failed[i].Count(x.arm)
	}
	first := x.step.entered == b.checkpoint.FirstAt && (!x.keyed || b.checkpoint.First[i].Put(x.key))
	for k := range b.series(i, x.cohorts) {
		// A mean is moved by each key once, up or down; a distribution is only described.
		if !known && (first || g.Metric != rollout.ScoreShift) {
			vote(at.Cell(k))
		}
		if first || g.Metric == rollout.Drift {
			vote(at.First(k))
		}
	}
}

// series are those that a request of these cohorts counts for: all requests, and the cohorts.
func (b *bench) series(i int, cohorts [rollout.MaxSegmentSources]uint8) iter.Seq[gate.Series] {
	return func(yield func(gate.Series) bool) {
		if !yield(gate.Series{Gate: i}) {
			return
		}
		names := b.trials.cohorts.Load().names
		for source, place := range cohorts[:len(names)] {
			if place > 0 && !yield(gate.Series{Gate: i, Segment: cohortName(b.trials.rules, names, source, place)}) {
				return
			}
		}
	}
}

// scored votes with the values of a pair.
func scored(g *rollout.Gate, x *trial, copied uint64) gate.Vote {
	if copied&compared == 0 {
		return nil
	}
	return gate.Scored(g, x.compared())
}

// agreed votes with whether a pair agrees.
func agreed(copied uint64) (vote gate.Vote, isBad bool) {
	if copied&compared == 0 {
		return nil, false
	}
	differ := copied&disagrees != 0
	return gate.Compared(differ), differ
}

// repeated votes with who disagrees with the champion: the challenger, or itself when it is
// asked again.
func repeated(copied, again uint64) (vote gate.Vote, isBad bool) {
	if copied&compared == 0 || again&compared == 0 {
		return nil, false
	}
	return discordant(again&disagrees != 0, copied&disagrees != 0)
}

// discordant votes with which side of a pair is bad.
func discordant(champion, challenger bool) (vote gate.Vote, isBad bool) {
	return gate.Pair(champion, challenger), champion || challenger
}

// rehearsed votes with which arm failed a request that both had.
func rehearsed(live, copied uint64) (vote gate.Vote, isBad bool) {
	if live == 0 || copied == 0 {
		return nil, false
	}
	return discordant(live&bad != 0, copied&bad != 0)
}

// performed votes with how the assigned arm served a request. There is no vote where the
// gate can't say yet what is bad.
func performed(g *rollout.Gate, x *trial, live uint64) (vote gate.Vote, isBad bool) {
	isBad = live&diverted != 0
	switch g.Metric {
	case rollout.SlowRate:
		isBad = isBad || live&answered == 0
	case rollout.TailLatency:
		slow := time.Duration(x.step.slow.Load())
		if slow == 0 {
			return nil, false
		}
		if x.arm == rollout.Challenger {
			slow = gate.Tolerated(*g, slow)
		}
		isBad = isBad || live&answered == 0 || ageOf(live) > slow
	default:
		isBad = isBad || live&bad != 0
	}
	return gate.Live(x.arm, isBad), isBad
}

// cohortName is "region=eu" for a value of parameter:region.
func cohortName(rules rollout.Rules, names [][]string, source int, place uint8) string {
	_, name, _ := strings.Cut(rules.Segments[source], ":")
	if place == other {
		return name + "=other"
	}
	return name + "=" + names[source][place-1]
}

// segment names the cohorts of a trial, for people.
func (t *trials) segment(x *trial) string {
	var all []string
	names := t.cohorts.Load().names
	for source, place := range x.cohorts[:len(names)] {
		if place > 0 {
			all = append(all, cohortName(t.rules, names, source, place))
		}
	}
	return strings.Join(all, " ")
}

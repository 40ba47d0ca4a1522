package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// rps is the traffic of the claims, as far as time plays a part.
const rps = 20

// ledger is the evidence of one rollout, fed with counts.
type ledger struct {
	state      rollout.State
	checkpoint gate.Checkpoint
	delta      gate.Counts
	random     *rand.Rand
	requests   float64
}

// newLedger begins a rollout that rests at a weight; 0 is shadow.
func newLedger(seed uint64, w rollout.Weight, gates ...rollout.Gate) *ledger {
	l := &ledger{random: rand.New(rand.NewPCG(seed, 0x6c6564676572))}
	for i := range gates {
		g := &gates[i]
		g.InShadow, g.InCanary, g.OnFail, g.MinRequests = true, true, rollout.RollBack, 100
		g.Share = 1 / float64(len(gates))
	}
	l.state = rollout.State{Rollout: 1, Rules: rollout.Rules{Alpha: alpha, Gates: gates, MaxCohorts: 3},
		Plan: rollout.Plan{{Kind: rollout.StepShadow, MinRequests: 1}}}
	l.enter(w)
	return l
}

// alpha is that of all claims.
const alpha = 0.01

// enter goes to another step.
func (l *ledger) enter(w rollout.Weight) {
	l.state.Entered++
	l.delta = gate.Counts{}
	l.state.Weight, l.state.Mode = w, rollout.ModeCanary
	if w == 0 {
		l.state.Mode = rollout.ModeShadow
	}
}

// cell is where what comes next is counted.
func (l *ledger) cell(g int, segment string) *gate.Cell {
	return l.delta.Step(l.state.Entered, gate.Step{Index: -1, Mode: l.state.Mode, Weight: l.state.Weight}).
		Cell(gate.Series{Gate: g, Segment: segment})
}

// look judges what was counted of the last n requests.
func (l *ledger) look(n float64) rollout.Judgement {
	l.requests += n
	l.checkpoint.Absorb(l.state, l.delta, time.Duration(n/rps*float64(time.Second)))
	for _, step := range l.delta.Steps { // used again: most of a look would else be garbage
		for _, c := range step.Cells {
			*c = gate.Cell{}
		}
	}
	l.delta.Keys = nil
	return l.checkpoint.Judge(l.state, false)
}

func failed(j rollout.Judgement) bool {
	_, ok := j.Decisive()
	return ok
}

func passed(j rollout.Judgement) bool { return j.Gates[0].Verdict == rollout.Pass }

// rates are the chances of a bad request.
type rates struct{ champion, challenger float64 }

// gap is the number of requests up to and with the next one to which something happens that
// has chance p, at most most; happens is false where that came first.
func (l *ledger) gap(p float64, most float64) (n float64, happens bool) {
	n = math.Floor(math.Log(1-l.random.Float64())/math.Log1p(-p)) + 1
	if n > most {
		return most, false
	}
	return n, true
}

// live counts live requests up to the next bad one, at most most, for the first gate, and
// looks.
func (l *ledger) live(r rates, most float64) rollout.Judgement {
	w := float64(l.state.Weight) / float64(rollout.FullWeight)
	p := w*r.challenger + (1-w)*r.champion
	n, bad := l.gap(p, most)
	c := l.cell(0, "")
	good := n
	if bad {
		good--
		if l.random.Float64() < w*r.challenger/p {
			c.ChallengerLive, c.ChallengerBad = c.ChallengerLive+1, c.ChallengerBad+1
		} else {
			c.ChampionLive, c.ChampionBad = c.ChampionLive+1, c.ChampionBad+1
		}
	}
	challenger := int64(w*good + l.random.Float64())
	c.ChallengerLive += challenger
	c.ChampionLive += int64(good) - challenger
	return l.look(n)
}

// pairs counts pairs up to the next in which one arm alone is bad, likewise.
func (l *ledger) pairs(alone rates, most float64) rollout.Judgement {
	p := alone.champion + alone.challenger
	n, bad := l.gap(p, most)
	c := l.cell(0, "")
	c.Pairs += int64(n)
	if bad && l.random.Float64() < alone.challenger/p {
		c.ChallengerOnly++
	} else if bad {
		c.ChampionOnly++
	}
	return l.look(n)
}

// until feeds rates until a judgement is as wanted, and returns the requests it took; +Inf
// where it was not by most.
func (l *ledger) until(wanted func(rollout.Judgement) bool, feed func(rates, float64) rollout.Judgement, r rates, each, most float64) float64 {
	for begun := l.requests; l.requests-begun < most; {
		if wanted(feed(r, each)) {
			return l.requests - begun
		}
	}
	return math.Inf(1)
}

func errorRate(margin float64, relative bool) rollout.Gate {
	return rollout.Gate{Metric: rollout.ErrorRate, Margin: margin, Relative: relative}
}

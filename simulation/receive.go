package simulation

import (
	"time"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/rollout"
)

// receive does with a request what the gateway does.
func (p *play) receive(q Request) {
	p.result.Requests++
	if q.At >= p.setup.Traffic.From {
		p.result.SinceRequests++
	}
	s := p.live.State
	arm := p.pick(s, q.Key)
	routing := rollout.Routing{Key: q.Key, Keyed: q.User >= 0, Arm: arm, Weight: s.Weight, Entered: s.Entered}
	routing.Segments[0] = q.Segment
	o := rollout.Outcome{Arm: arm, Weight: s.Weight, Entered: s.Entered}
	o.Stamp = p.live.Evidence.Route(routing)
	if arm == rollout.Challenger {
		p.perform(q, o)
		return
	}
	o.Latency = q.Champion.Takes
	if q.Champion.Failed {
		o.Code = rollout.Unavailable
	}
	p.observe(o, q.Champion.Takes, p.live.Evidence)
	if canary.Sampled(s.Model, s.Challenger, q.Key, p.setup.Sample) {
		p.rehearse(q, o)
	}
}

func (p *play) pick(s rollout.State, key string) rollout.Arm {
	if s.Mode != rollout.ModeCanary {
		return rollout.Champion
	}
	weight := s.Weight
	if p.setup.Misrouted > 0 {
		weight = p.setup.Misrouted
	}
	return canary.Pick(s.Model, s.Challenger, key, weight)
}

// observe has the evidence hear of an outcome at the age at which it is known.
func (p *play) observe(o rollout.Outcome, age time.Duration, evidence *canary.Evidence) {
	o.Age = age
	p.ends.add(p.now+age, func() { evidence.Observe(o) })
}

// perform serves a request that the split gave to the challenger.
func (p *play) perform(q Request, o rollout.Outcome) {
	if q.Lost {
		return
	}
	if q.Diverted {
		o.Diverted = rollout.Cap
	} else if done, ok := p.live.Breaker.Allow(); ok {
		p.ask(q, o, done)
		return
	} else {
		o.Diverted = rollout.BreakerOpen
	}
	p.observe(o, q.Champion.Takes, p.live.Evidence)
}

// ask lets the challenger answer, and where it fails the champion.
func (p *play) ask(q Request, o rollout.Outcome, done func(rollout.Outcome)) {
	r := &p.result
	if q.User >= 0 && !p.exposed[q.User] {
		p.exposed[q.User] = true
		r.Users++
	}
	reply := q.Challenger.within(p.setup.Timeout)
	o.Latency = reply.Takes
	age := reply.Takes
	switch {
	case reply.Failed:
		o.Diverted = rollout.Fallback
		age += q.Champion.Takes
		if q.Champion.Failed {
			r.Visible++
		} else {
			r.Hidden++
		}
	default:
		r.Served++
		if q.Disagrees {
			r.Wrong++
		}
	}
	if p.setup.Slow > 0 && age > p.setup.Slow {
		r.Slow++
	}
	o = reply.blame(o)
	p.ends.add(p.now+reply.Takes, func() { done(o) })
	p.observe(o, age, p.live.Evidence)
}

// rehearse sends a copy once the client has its answer.
func (p *play) rehearse(q Request, live rollout.Outcome) {
	evidence, breaker := p.live.Evidence, p.live.Breaker
	p.ends.add(p.now+q.Champion.Takes, func() {
		done, ok := breaker.Allow()
		if !ok {
			evidence.Skipped(rollout.BreakerOpen)
			return
		}
		reply := q.Challenger.within(p.setup.CopyTimeout)
		o := reply.blame(rollout.Outcome{Arm: rollout.Challenger, Mirrored: true, Latency: reply.Takes, Age: q.Champion.Takes + reply.Takes,
			Weight: live.Weight, Entered: live.Entered, Stamp: live.Stamp})
		if !q.Champion.Failed && !reply.Failed {
			o.Paired, o.Comparison = true, p.compare(q)
		}
		p.ends.add(p.now+reply.Takes, func() {
			done(o)
			evidence.Observe(o)
		})
	})
}

// agree is the comparison of most pairs.
var agree = &rollout.Comparison{Agree: true}

// compare compares a pair's predictions: each output that a gate looks at is the score.
func (p *play) compare(q Request) *rollout.Comparison {
	var outputs []rollout.OutputComparison
	for _, g := range p.setup.Rules.Gates {
		if g.Output != "" {
			outputs = append(outputs, rollout.OutputComparison{Output: g.Output, Kind: rollout.CompareScore, Agree: !q.Disagrees,
				Scores: []rollout.ScorePair{{Champion: q.Scores[0], Challenger: q.Scores[1]}}})
		}
	}
	if len(outputs) == 0 && !q.Disagrees {
		return agree
	}
	return &rollout.Comparison{Agree: !q.Disagrees, Outputs: outputs}
}

// within cuts a reply off at its time.
func (r Reply) within(limit time.Duration) Reply {
	if limit > 0 && r.Takes > limit {
		return Reply{Failed: true, Takes: limit}
	}
	return r
}

func (r Reply) blame(o rollout.Outcome) rollout.Outcome {
	if r.Failed {
		o.Code, o.Blame = rollout.Unavailable, rollout.OnChallenger
	}
	return o
}

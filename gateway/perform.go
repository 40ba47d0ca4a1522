package gateway

import (
	"context"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// leastBudget is the time under which the challenger is not asked: it could hardly
// answer, and would be blamed for it.
const leastBudget = 2 * time.Millisecond

// perform serves a request that the split assigned to the challenger in canary: by the
// challenger, or by the champion where the challenger may not be asked or fails.
func (v *visit) perform(ctx context.Context) rollout.Reply {
	budget, bounded := v.budget(ctx)
	if bounded && budget < leastBudget {
		return v.divert(ctx, rollout.ShortDeadline)
	}
	place := slot{v.route.ChallengerInFlight}
	if !place.acquire() {
		return v.divert(ctx, rollout.Cap)
	}
	defer place.release()
	done, ok := v.allow()
	if !ok {
		place.release()
		return v.divert(ctx, rollout.BreakerOpen)
	}
	breaker := report{visit: v, done: done}
	defer breaker.give()

	e := v.call(ctx, rollout.Challenger, budget)
	place.release()
	v.settle(&e)
	switch e.blame {
	case rollout.Nobody, rollout.OnCaller:
		breaker.give()
		return v.answer(ctx, rollout.Challenger, &e)
	case rollout.OnChallenger:
		v.outcome.Diverted = rollout.Fallback
		breaker.give() // before the fallback: a trip must not wait for the champion
	}
	return v.fallBack(ctx, &e)
}

// budget is the challenger's time: its own timeout, and no more than half of what the
// caller has left, so that the fallback has the other half. It is unbounded, and 0, where
// there is neither. Contexts run on the system's clock, and so does this.
func (v *visit) budget(ctx context.Context) (budget time.Duration, bounded bool) {
	budget = v.route.ChallengerTimeout
	if deadline, ok := ctx.Deadline(); ok {
		half := time.Until(deadline) / 2
		if budget <= 0 || half < budget {
			return half, true
		}
	}
	return max(budget, 0), budget > 0
}

func (v *visit) allow() (done func(rollout.Outcome), ok bool) {
	if v.route.Breaker == nil {
		return nil, true
	}
	return v.route.Breaker.Allow()
}

// divert lets the champion serve a request that the challenger is not asked. That is no
// failure, and no evidence about the champion either.
func (v *visit) divert(ctx context.Context, why rollout.Reason) rollout.Reply {
	v.outcome.Diverted = why
	v.route.metrics.diverted[why].Inc()
	if v.record != nil {
		v.record.Challenger.Absent = why
	}
	e := v.call(ctx, rollout.Champion, 0)
	return v.answer(ctx, rollout.Champion, &e)
}

// fallBack lets the champion answer what the challenger failed, once. What the champion
// says goes to the client, be it another failure.
func (v *visit) fallBack(ctx context.Context, failed *ended) rollout.Reply {
	failed.reply.Payload.Free()
	v.outcome.Diverted = rollout.Fallback
	champion := v.call(ctx, rollout.Champion, 0)
	answered := champion.blame == rollout.Nobody
	v.outcome.Blame = failed.blame.Settle(answered)
	if answered && v.outcome.Blame == rollout.OnChallenger {
		v.route.metrics.hid(failed.Ending)
	}
	return v.answer(ctx, rollout.Champion, &champion)
}

// slot is a place under the cap of calls in flight; it is given back once.
type slot struct {
	of *InFlight
}

func (s *slot) acquire() bool { return s.of.acquire() }

func (s *slot) release() {
	s.of.release()
	s.of = nil
}

// report is what the breaker waits for: the visit's outcome, once.
type report struct {
	visit *visit
	done  func(rollout.Outcome)
}

// give reports the outcome as it stands. Where a panic passes through, the call's end is
// not known, and the breaker is told of nobody's failure.
func (r *report) give() {
	done := r.done
	r.done = nil
	if done == nil {
		return
	}
	o := r.visit.outcome
	if r.visit.calling != rollout.NoArm {
		o.Code, o.Blame = rollout.Internal, rollout.OnCaller
	}
	done(o)
}

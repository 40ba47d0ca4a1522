package demo

import (
	"context"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// act is what the audience and servers have seen of one model.
type act struct {
	model   string
	users   clientFigures
	answers []answer
	// rollout is as it was at the act's end.
	rollout *adminv1.Rollout
	// recordedUntil is when the model left the modes whose requests are recorded.
	recordedUntil time.Time
	// grace is the time in which what was sent before a rollback may still arrive.
	grace time.Duration
	topic topicFigures
}

// leastGrace is enough where the machine has time for the demo.
const leastGrace = 100 * time.Millisecond

// graceWithout is leastGrace, or what the slowest answer took: a machine that is too busy
// is late with all. Answers that were under way between from and to tell of the challenger
// and do not count.
func (a *act) graceWithout(from, to time.Time) time.Duration {
	g := leastGrace
	for _, answer := range a.answers {
		if !answer.sent.Before(to) || answer.done.Before(from) {
			g = max(g, answer.done.Sub(answer.sent))
		}
	}
	return g.Round(time.Millisecond)
}

// keepAll is more answers than any act has.
const keepAll = 1 << 20

// slack is what a step may take beyond its time, for its gates and on a busy machine.
const slack = 15 * time.Second

// act1Steps are those of act 1's plan.
const act1Steps = 4

// playAct1 rehearses a good challenger and sees it promoted.
func (s *story) playAct1(ctx context.Context) (act, error) {
	s.Screen.Say("", s.Screen.Bold("Act 1: a good challenger")+" (model "+act1Model+")", "",
		"  A step ends when its gates pass: when it is shown that the challenger is no worse than they allow.")
	c, stop := s.traffic(act1Model, s.Rate, keepAll)
	defer stop()
	r, err := s.follow(ctx, c, "the promotion of "+act1Model, act1Steps*(s.Step+slack), inMode(promoted))
	if err != nil {
		return act{}, err
	}
	// Promoted, a moment longer: its answers are the users' only ones now.
	return s.end(ctx, c, stop, r, time.Second)
}

// end lets users go on asking for a while behind the change that the act was about, and
// returns what was seen.
func (s *story) end(ctx context.Context, c *clients, stop func(), r *adminv1.Rollout, aftermath time.Duration) (act, error) {
	until := time.Now().Add(aftermath)
	_, err := s.follow(ctx, c, "time to pass", aftermath+slack, func(*adminv1.Rollout) bool { return time.Now().After(until) })
	if err != nil {
		return act{}, err
	}
	stop()
	s.Screen.Leave()
	return act{model: c.model, users: c.figures(), answers: c.answers(), rollout: r, recordedUntil: turn(r).GetTime().AsTime()}, nil
}

package demo

import (
	"context"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// act is what one act's audience and servers have seen.
type act struct {
	model   string
	users   clientFigures
	answers []answer
	// rollout is as it was at the act's end.
	rollout *adminv1.Rollout
	// recordedUntil is when the model left the modes whose requests are recorded.
	recordedUntil time.Time
	topic         topicFigures
}

// keepAll is more answers than any act has.
const keepAll = 1 << 20

// slack is what a step may take beyond its time, on a busy machine.
const slack = 4 * time.Second

// playAct1 rehearses a good challenger and sees it promoted.
func (s *story) playAct1(ctx context.Context) (act, error) {
	s.Screen.Say("", s.Screen.Bold("Act 1: a good challenger")+" (model "+act1Model+")", "")
	c, stop := s.traffic(act1Model, s.Rate, keepAll)
	defer stop()
	const steps = 4
	r, err := s.follow(ctx, c, "the promotion of "+act1Model, steps*(s.Step+slack), inMode(adminv1.Mode_MODE_PROMOTED))
	if err != nil {
		return act{}, err
	}
	// Promoted, a moment longer: its answers are the users' only ones now.
	if err := s.linger(ctx, c, time.Second); err != nil {
		return act{}, err
	}
	stop()
	s.Screen.Leave()
	return act{model: act1Model, users: c.figures(), answers: c.answers(), rollout: r, recordedUntil: entered(r)}, nil
}

// linger goes on as it is for a while.
func (s *story) linger(ctx context.Context, c *clients, d time.Duration) error {
	until := time.Now().Add(d)
	_, err := s.follow(ctx, c, "time to pass", d+slack, func(*adminv1.Rollout) bool { return time.Now().After(until) })
	return err
}

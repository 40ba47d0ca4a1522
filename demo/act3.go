package demo

import (
	"context"
	"time"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// wrong is a challenger that answers fast, without errors, and wrongly.
type wrong struct {
	act
	// calls were received by its server, after those of them that came more than grace
	// behind the rollback.
	calls, after modelserver.Counts
	// veto is the gate that took it off, by the audit log.
	veto verdict
}

// playAct3 lets the gates find two challengers that no breaker would.
func (s *story) playAct3(ctx context.Context) (a, b wrong, err error) {
	s.Screen.Say("", s.Screen.Bold("Act 3: challengers that are healthy, fast and wrong")+" (models "+act3aModel+" and "+act3bModel+")", "",
		"  a. "+act3aModel+"'s challenger gets ten columns where ten others belong. It calls every tumour benign, in",
		"     milliseconds and without an error: there is nothing that a breaker could see.")
	if a, err = s.playWrong(ctx, act3aModel); err != nil {
		return a, b, err
	}
	s.Screen.Say("",
		"  b. "+act3bModel+"'s does so for the patients of one clinic, a fifth of all. On average it looks fine;",
		"     but each clinic has the gates for itself, too.")
	b, err = s.playWrong(ctx, act3bModel)
	return a, b, err
}

// playWrong rehearses a challenger until its rollout leaves shadow, in whatever direction.
func (s *story) playWrong(ctx context.Context, model string) (wrong, error) {
	server := s.arms[model].challenger
	c, stop := s.traffic(model, s.Rate, keepAll)
	defer stop()
	r, err := s.follow(ctx, c, "a gate to fail "+model, s.Step+4*slack, func(r *adminv1.Rollout) bool { return !inMode(shadow)(r) })
	if err != nil {
		return wrong{}, err
	}
	w := wrong{}
	if w.act, err = s.end(ctx, c, stop, r, time.Second); err != nil {
		return wrong{}, err
	}
	w.grace = w.graceWithout(time.Time{}, time.Time{})
	w.calls, w.after = server.Counts(), server.Since(w.recordedUntil.Add(w.grace))
	return w, nil
}

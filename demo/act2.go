package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

const (
	// errorsFirst is how many calls the breaking challenger answers with an error before
	// it hangs: fewer than trip the breaker, so that hanging calls decide.
	errorsFirst = 4
	// provenLive is how many users the challenger answers well before it breaks.
	provenLive = 20
	// aftermath is how long users go on asking after the rollback.
	aftermath = 2 * time.Second
)

// fall is what act 2 is about.
type fall struct {
	act
	// brokeAt is when the challenger's server was told to fail.
	brokeAt, trippedAt time.Time
	// decidedAt is when the server saw the end of the failure that trips the breaker; zero
	// if there was none.
	decidedAt time.Time
	// failedCalls and hungCalls were received behind brokeAt, by the server's own count.
	failedCalls, hungCalls int
	// userErrors are those of answers that came behind brokeAt.
	userErrors int
	// slowest is the longest that a user waited for one of these.
	slowest time.Duration
	// after counts the calls received more than grace behind trippedAt.
	after modelserver.Counts
}

// reaction is the time from the deciding failure to the rollback, as seen from outside.
// It can be below zero: the gateway's clock for a hanging call runs out first.
func (f *fall) reaction() time.Duration { return f.trippedAt.Sub(f.decidedAt) }

// playAct2 lets a challenger break while it answers users.
func (s *story) playAct2(ctx context.Context) (fall, error) {
	s.Screen.Say("", s.Screen.Bold("Act 2: a challenger that forgets its lines")+" (model "+act2Model+")", "",
		"  It has been in shadow since the gateway started, and no further: without requests there is no evidence.")
	server := s.arms[act2Model].challenger
	c, stop := s.traffic(act2Model, s.Rate, keepAll)
	defer stop()
	_, err := s.follow(ctx, c, act2Model+"'s challenger to answer users", 2*(s.Step+slack), func(r *adminv1.Rollout) bool {
		return inMode(canary)(r) && server.Counts().Live >= provenLive && time.Since(turn(r).GetTime().AsTime()) > s.Step/2
	})
	if err != nil {
		return fall{}, err
	}
	f := fall{brokeAt: time.Now()}
	server.SetScript(modelserver.Phase{Calls: errorsFirst, Fault: modelserver.Errors(codes.Internal)}, modelserver.Phase{Fault: modelserver.Hang()})
	s.Screen.Say(fmt.Sprintf("  %s  %s  the challenger's server breaks: %d calls get INTERNAL, and then it hangs",
		f.brokeAt.Format(time.TimeOnly), s.Screen.Bad(fmt.Sprintf("%-12s", "(fault)")), errorsFirst))
	r, err := s.follow(ctx, c, "the rollback of "+act2Model, slack, inMode(rolledBack))
	if err != nil {
		return fall{}, err
	}
	if f.act, err = s.end(ctx, c, stop, r, aftermath); err != nil {
		return fall{}, err
	}
	f.trippedAt = f.recordedUntil
	f.count(server)
	return f, nil
}

// count takes the figures of the fall from the model server and the clients.
func (f *fall) count(server *modelserver.Server) {
	calls := server.Calls()
	for _, call := range calls {
		if call.Received.Before(f.brokeAt) {
			continue
		}
		switch call.Code {
		case codes.Internal:
			f.failedCalls++
		case codes.DeadlineExceeded, codes.Canceled:
			f.hungCalls++
		}
	}
	f.decidedAt = decisive(calls)
	f.grace = f.graceWithout(f.brokeAt, f.trippedAt)
	f.after = server.Since(f.trippedAt.Add(f.grace))
	for _, a := range f.answers {
		if a.done.Before(f.brokeAt) {
			continue
		}
		f.slowest = max(f.slowest, a.done.Sub(a.sent))
		if a.err != nil {
			f.userErrors++
		}
	}
}

// decisive returns when the failure ended that is the breaker's last straw: so many in a
// row behind the last success. Zero means that there were not so many.
func decisive(calls []modelserver.Call) time.Time {
	ended := slices.DeleteFunc(slices.Clone(calls), func(c modelserver.Call) bool { return c.Ended.IsZero() })
	slices.SortFunc(ended, func(a, b modelserver.Call) int { return a.Ended.Compare(b.Ended) })
	failures := 0
	for i, call := range ended {
		switch {
		case call.Code == codes.OK:
			failures = 0
		case failures+1 == consecutiveFailures:
			return ended[i].Ended
		default:
			failures++
		}
	}
	return time.Time{}
}

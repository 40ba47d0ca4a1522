package e2e

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/understudy-serving/understudy/demo/modelserver"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// Every request in shadow gives exactly one record with both predictions, on a real
// broker and on the stand-in.
func TestShadowRecordsEveryRequest(t *testing.T) {
	brokers := map[string]func(*testing.T) []string{
		"stand-in":     stub,
		"Apache Kafka": func(t *testing.T) []string { return kafka.Brokers(t) },
	}
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			const n = 10_000
			th := open(t, start(t), func(p *play) { p.MirrorCap, p.MirrorTimeout = n, "20s" })
			sent := map[string]bool{}
			for _, r := range th.mustServe(0, n) {
				if r.version != "1" {
					t.Fatalf("version %q answered in shadow, want the champion's", r.version)
				}
				sent[r.id] = true
			}
			if len(sent) != n {
				t.Fatalf("%d different ids for %d requests", len(sent), n)
			}
			records := th.records()
			if len(records) != n {
				t.Errorf("%d records, want %d", len(records), n)
			}
			for id, p := range records {
				checkPair(t, id, p, sent)
			}
			if live := th.challenger.Counts().Live; live != 0 {
				t.Errorf("the challenger got %d live calls in shadow", live)
			}
		})
	}
}

func checkPair(t *testing.T, id string, p *recordv1.Prediction, sent map[string]bool) {
	t.Helper()
	switch {
	case !sent[id]:
		t.Errorf("record %s has an id that no client was given", id)
	case p.Champion.GetResponse() == nil || p.Challenger.GetResponse() == nil:
		t.Errorf("record %s lacks a prediction: champion %q, challenger %q", id, p.Champion.GetAbsent(), p.Challenger.GetAbsent())
	case p.Comparison == nil || len(p.Comparison.Outputs) != 2:
		t.Errorf("record %s: comparison %v, want both outputs", id, p.Comparison)
	case p.Request.GetId() != p.RequestId || p.Mode != recordv1.Mode_MODE_SHADOW || p.Served != recordv1.Arm_ARM_CHAMPION:
		t.Errorf("record %s: request %q, mode %s, served %s", id, p.RequestId, p.Mode, p.Served)
	case p.Champion.Version != "1" || p.Challenger.Version != "2" || p.Champion.Response.ModelName != "risk-v1":
		t.Errorf("record %s: arms %v and %v", id, p.Champion, p.Challenger)
	}
}

// Whatever the challenger does in shadow, clients don't notice, few copies reach it, and
// it is mirrored again when it is back.
func TestBadChallengerInShadow(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := open(t, stub(t), nil)
			th.mustServe(0, 50)
			before := th.challenger.Counts().Total()
			restore := fault(th)
			th.mustServe(50, 100)
			th.eventually("the breaker opens", func() bool {
				th.mustServe(150, 20)
				return th.rollout().Breaker != "closed"
			})
			opened := time.Now()
			th.mustServe(500, 300)
			// Behind the trip: what was in flight, and one probe an openFor.
			probes := 1 + int(time.Since(opened)/(300*time.Millisecond))
			limit := breakerThreshold + th.play.MirrorCap + probes + 1
			if got := th.challenger.Counts().Total() - before; got > limit && name != "dies" {
				t.Errorf("%d copies reached the failing challenger, want at most %d", got, limit)
			}
			if got := th.metric("understudy_mirror_skipped_total", `reason="breaker_open"`); got == 0 {
				t.Error("no request was skipped for the open breaker")
			}
			if mode := th.rollout().Mode.String(); mode != "MODE_SHADOW" {
				t.Errorf("mode %s: a challenger that fails in shadow must not end its rollout", mode)
			}
			restore()
			th.eventually("the challenger is mirrored again", func() bool {
				th.mustServe(1000, 5)
				return th.rollout().Breaker == "closed"
			})
			back := th.challenger.Counts().Mirrored
			th.eventually("copies reach the challenger that is back", func() bool {
				th.mustServe(2000, 5)
				return th.challenger.Counts().Mirrored >= back+20
			})
		})
	}
}

// faults are what challengers do; each is undone by what it returns.
var faults = map[string]func(*theatre) (restore func()){
	"errors":                        scripted(modelserver.Errors(codes.Unavailable)),
	"hangs":                         scripted(modelserver.Hang()),
	"garbage":                       scripted(modelserver.Garbage()),
	"truncated":                     scripted(modelserver.Truncated()),
	"refuses the champion's schema": scripted(modelserver.Errors(codes.InvalidArgument)),
	"dies": func(th *theatre) func() {
		addr := th.challenger.Addr()
		model := th.challenger
		model.Close()
		return func() { th.challenger = th.revive(addr) }
	},
}

func scripted(f modelserver.Fault) func(*theatre) func() {
	return func(th *theatre) func() {
		th.challenger.SetFault(f)
		return func() { th.challenger.SetFault(modelserver.Healthy()) }
	}
}

// A client that goes away neither stops the mirror nor counts against anybody.
func TestClientCancellation(t *testing.T) {
	th := open(t, stub(t), func(p *play) { p.Timeout = "10s" })
	th.champion.SetFault(modelserver.Hang())
	const n = 30
	th.cancelOnArrival(th.champion, n)
	th.eventually("all cancelled requests are mirrored", func() bool { return th.challenger.Counts().Mirrored == n })
	th.champion.SetFault(modelserver.Healthy())
	th.challenger.SetFault(modelserver.Hang())
	th.canary(100)
	th.cancelOnArrival(th.challenger, n)
	th.challenger.SetFault(modelserver.Healthy())
	if r := th.rollout(); r.Mode.String() != "MODE_CANARY" || r.Breaker != "closed" || r.ChallengerFigures.Failures != 0 {
		t.Errorf("mode %s, breaker %s, %d failures: cancelled calls must count for nothing", r.Mode, r.Breaker, r.ChallengerFigures.Failures)
	}
	if records := th.records(); len(records) != 2*n {
		t.Errorf("%d records for %d cancelled requests", len(records), 2*n)
	}
}

// cancelOnArrival makes n requests, one after the other, and cancels each when it has
// reached the arm that hangs.
func (th *theatre) cancelOnArrival(arm *modelserver.Server, n int) {
	th.t.Helper()
	before := arm.Counts().Live
	for i := range n {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan reply)
		go func() { done <- th.infer(ctx, i) }()
		th.eventually("the request arrives", func() bool { return arm.Counts().Live == before+i+1 })
		cancel()
		wantCode(th.t, (<-done).err, codes.Canceled)
	}
}

// Without its champion a model is down, at once, and nothing is given to the challenger.
func TestChampionDown(t *testing.T) {
	th := open(t, stub(t), nil)
	th.mustServe(0, 10)
	th.eventually("copies arrive", func() bool { return th.challenger.Counts().Mirrored == 10 })
	th.champion.Close()
	start := time.Now()
	for _, r := range th.send(10, 50) {
		wantCode(t, r.err, codes.Unavailable)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("50 refusals took %s", took)
	}
	if live := th.challenger.Counts().Live; live != 0 {
		t.Errorf("%d calls were diverted to the challenger", live)
	}
}

package e2e

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

const (
	shadowFirst = "[{shadow: {minRequests: 1}}, {setWeight: 50}, {pause: {}}]"
	canaryNext  = "[{shadow: {minRequests: 1100}}, {setWeight: 50}, {pause: {duration: 1ms, minRequests: 1}}]"
)

// oneIn makes the server suffer the fault every so many calls.
func oneIn(n int, f modelserver.Fault) []modelserver.Phase {
	var phases []modelserver.Phase
	for range 2000 {
		phases = append(phases, modelserver.Phase{Calls: n - 1}, modelserver.Phase{Calls: 1, Fault: f})
	}
	return phases
}

func (th *theatre) spoil(whim func(row []float32, score float32) float32) { th.whim.Store(&whim) }

// copyChampion makes the challenger say what the champion says.
func (th *theatre) copyChampion() {
	logistic := th.logistic
	th.spoil(func(row []float32, _ float32) float32 { return logistic.Score(row) })
}

// judged waits until the gates have judged what was sent, and returns the rollout.
func (th *theatre) judged() *adminv1.Rollout {
	time.Sleep(2500 * time.Millisecond) // a horizon of half a second, and a look each second
	return th.rollout()
}

// Every gate in the real gateway: seen to hold, to pass, and to fail.
func TestEachGate(t *testing.T) {
	pass := func(th *theatre) { th.copyChampion() }
	for name, c := range map[string]struct {
		gate, plan string
		// rehearsal is how many requests it takes in shadow to get into canary, for live gates.
		live bool
		// enough requests for a pass.
		enough         int
		healthy, wrong func(*theatre)
		// fails is the mode where a failure leads to.
		fails adminv1.Mode
	}{
		"error-rate in shadow": {gate: "metric: error-rate, allowedIncrease: 10pp, horizon: 500ms", plan: shadowFirst, enough: 300, healthy: pass,
			wrong: func(th *theatre) { th.challenger.SetScript(oneIn(3, modelserver.Errors(codes.Internal))...) }, fails: rolledBack},
		"error-rate in canary": {gate: "metric: error-rate, allowedIncrease: 10pp, horizon: 500ms, modes: [canary]", plan: canaryNext, live: true, enough: 500, healthy: pass,
			wrong: func(th *theatre) { th.challenger.SetScript(oneIn(3, modelserver.Errors(codes.Internal))...) }, fails: rolledBack},
		"slow-rate": {gate: "metric: slow-rate, slowerThan: 400ms, allowedIncrease: 10pp", plan: canaryNext, live: true, enough: 500, healthy: pass,
			wrong: func(th *theatre) { th.challenger.SetScript(oneIn(3, modelserver.Slow(600*time.Millisecond))...) }, fails: rolledBack},
		"tail-latency": {gate: "metric: tail-latency, allowedIncrease: 50%, horizon: 2s", plan: canaryNext, live: true, enough: 300,
			healthy: func(th *theatre) {
				th.copyChampion()
				th.champion.SetScript(oneIn(3, modelserver.Slow(600*time.Millisecond))...)
			},
			wrong: func(th *theatre) { th.challenger.SetScript(oneIn(3, modelserver.Slow(900*time.Millisecond))...) }, fails: rolledBack},
		"disagreement": {gate: "metric: disagreement, max: 10%, horizon: 500ms", plan: shadowFirst, enough: 300, healthy: pass,
			wrong: func(th *theatre) { th.spoil(func(_ []float32, s float32) float32 { return 1 - s }) }, fails: rolledBack},
		"score-shift": {gate: "metric: score-shift, output: probability, max: 0.1, range: 1, horizon: 500ms", plan: shadowFirst, enough: 400, healthy: pass,
			wrong: func(th *theatre) { th.spoil(func(_ []float32, s float32) float32 { return 0.6 + 0.4*s }) }, fails: rolledBack},
		"drift": {gate: "metric: drift, output: probability, max: 0.25, horizon: 500ms", plan: shadowFirst, enough: 300, healthy: pass,
			wrong: func(th *theatre) { th.spoil(func(_ []float32, s float32) float32 { return 0.6 + 0.4*s }) }, fails: adminv1.Mode_MODE_SHADOW},
	} {
		play := func(t *testing.T) *theatre {
			th := open(t, stub(t), func(p *play) {
				p.Gates, p.Plan = "[{"+c.gate+", minRequests: 50}]", c.plan
				p.Timeout, p.MirrorTimeout, p.MaxInFlight, p.MirrorCap = "5s", "5s", 64, 2048
			})
			if c.live {
				th.copyChampion()
				th.mustServe(0, 1200) // the champion's p99 takes a thousand answers
				th.eventually("canary", func() bool { return th.rollout().Mode == adminv1.Mode_MODE_CANARY })
			}
			return th
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("holds and passes", func(t *testing.T) {
				th := play(t)
				c.healthy(th)
				before := th.rollout().Mode
				th.mustServe(10_000, 20)
				if r := th.judged(); r.Mode != before || !strings.Contains(r.WaitingFor, "gate "+strings.Fields(name)[0]) {
					t.Fatalf("with little evidence: %s, waiting for %q", r.Mode, r.WaitingFor)
				}
				for from := 20_000; th.rollout().Mode == before && from < 20_000+20*c.enough; from += c.enough {
					th.mustServe(from, c.enough)
					th.judged()
				}
				if r := th.rollout(); r.Mode <= before || r.Mode == rolledBack {
					t.Errorf("did not pass: %s, waiting for %q", r.Mode, r.WaitingFor)
				}
			})
			t.Run("fails", func(t *testing.T) {
				th := play(t)
				c.wrong(th)
				th.mustServe(10_000, 600)
				r := th.judged()
				if r.Mode != c.fails {
					t.Fatalf("%s, want %s; waiting for %q", r.Mode, c.fails, r.WaitingFor)
				}
				if c.fails == rolledBack && (r.Events[0].Actor != "gate" || !strings.HasPrefix(r.Events[0].Reason, "gate "+strings.Fields(name)[0])) {
					t.Errorf("ended by %s: %s", r.Events[0].Actor, r.Events[0].Reason)
				}
				if c.fails != rolledBack && r.Gates[0].Verdict != adminv1.Verdict_VERDICT_FAIL {
					t.Errorf("%v", r.Gates[0])
				}
			})
		})
	}
}

const rolledBack = adminv1.Mode_MODE_ROLLED_BACK

// A challenger that is healthy, fast and wrong never meets a user.
func TestWrongButHealthyNeverLeavesShadow(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Gates, p.Plan = "[{metric: error-rate, allowedIncrease: 10pp, horizon: 500ms}, {metric: disagreement, max: 10%, horizon: 500ms}]", shadowFirst
	})
	th.spoil(func(_ []float32, score float32) float32 { return 1 - score })
	for from := 0; th.rollout().Mode == adminv1.Mode_MODE_SHADOW && from < 60_000; from += 100 {
		for _, r := range th.mustServe(from, 100) {
			if r.version != "1" {
				t.Fatalf("a user met version %s", r.version)
			}
		}
		time.Sleep(50 * time.Millisecond) // what is served is judged a horizon later
	}
	r := th.rollout()
	if r.Mode != rolledBack || !strings.HasPrefix(r.Events[0].Reason, "gate disagreement") {
		t.Errorf("%s: %s", r.Mode, r.Events[0].Reason)
	}
	if n := th.challenger.Counts().Live; n != 0 {
		t.Errorf("%d users' requests reached the challenger", n)
	}
	explained, err := th.admin.Explain(context.Background(), &adminv1.ExplainRequest{Model: "risk"})
	if err != nil {
		t.Fatal(err)
	}
	worst := explained.GetJudgement().GetWorstPairs()
	records := th.records()
	if len(worst) == 0 || records[worst[0].GetId()] == nil {
		t.Errorf("the worst pair %v has no record on the topic", worst)
	}
}

// One that is wrong for one cohort alone is stopped by it, though all requests together
// are within the limit.
func TestACohortVetoes(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Gates, p.Plan, p.Segments = "[{metric: disagreement, max: 25%, horizon: 500ms}]", shadowFirst, `["parameter:region"]`
		p.MirrorCap = 256
	})
	const eighth = 8
	th.region = func(row []float32) string {
		if int(row[0]*1000)%eighth == 0 {
			return "eu"
		}
		return "us"
	}
	logistic := th.logistic
	th.spoil(func(row []float32, _ float32) float32 {
		if int(row[0]*1000)%eighth == 0 {
			return 1 - logistic.Score(row)
		}
		return logistic.Score(row)
	})
	for from := 0; th.rollout().Mode == adminv1.Mode_MODE_SHADOW && from < 3000; from += 50 {
		th.mustServe(from, 50)
		time.Sleep(100 * time.Millisecond)
	}
	if r := th.rollout(); r.Mode != rolledBack || !strings.HasPrefix(r.Events[0].Reason, "gate disagreement (region=eu)") {
		t.Errorf("%s: %s; waiting for %q", r.Mode, r.Events[0].Reason, r.WaitingFor)
	}
}

// Results that are missing on one side alone are a broken split: nothing is decided on them.
func TestMissingResultsVoidTheVerdicts(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Gates, p.Plan = "[{metric: error-rate, allowedIncrease: 10pp, horizon: 500ms}]", canaryNext
		p.Timeout, p.MaxInFlight, p.MirrorCap = "20s", 512, 1
	})
	th.canary(50)
	th.challenger.SetFault(modelserver.Slow(7 * time.Second))
	var callers sync.WaitGroup
	for n := range 128 { // with time to spare: none of them fails
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if r := th.infer(ctx, n); r.err != nil {
				t.Error(r.err)
			}
		})
	}
	callers.Wait()
	r := th.judged()
	if !r.SplitVoid || r.Mode != adminv1.Mode_MODE_CANARY || len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "split is broken") {
		t.Errorf("void %t in %s, warnings %q", r.SplitVoid, r.Mode, r.Warnings)
	}
	if th.metric("understudy_split_void") != 1 {
		t.Error("no alarm in the metrics")
	}
}

// A champion that does not agree with itself is no reason to fail a challenger that is no
// noisier; one that is noisier fails.
func TestANoisyChampion(t *testing.T) {
	noisy := func(share float64) *func([]float32, float32) float32 {
		f := func(_ []float32, score float32) float32 {
			if rand.Float64() < share {
				return 1 - score
			}
			return score
		}
		return &f
	}
	for name, c := range map[string]struct {
		challenger float64
		ends       func(adminv1.Mode) bool
	}{
		"no noisier": {0.2, func(m adminv1.Mode) bool { return m == adminv1.Mode_MODE_CANARY }},
		"noisier":    {0.7, func(m adminv1.Mode) bool { return m == rolledBack }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := open(t, stub(t), func(p *play) {
				p.Gates, p.Plan = "[{metric: excess-disagreement, allowedIncrease: 20pp, horizon: 500ms}]", shadowFirst
				p.Repeat, p.MirrorCap, p.MirrorTimeout = "100%", 1024, "5s"
			})
			th.mood.Store(noisy(0.2))
			logistic, spoil := th.logistic, noisy(c.challenger)
			th.spoil(func(row []float32, _ float32) float32 { return (*spoil)(row, logistic.Score(row)) })
			for from := 0; th.rollout().Mode == adminv1.Mode_MODE_SHADOW && from < 6000; from += 200 {
				th.mustServe(from, 200)
				time.Sleep(200 * time.Millisecond)
			}
			if r := th.judged(); !c.ends(r.Mode) {
				t.Errorf("%s: %s; waiting for %q", r.Mode, r.Events[0].Reason, r.WaitingFor)
			}
			if th.metric("understudy_mirror_repeats_total", "disagree") == 0 {
				t.Error("no champion was asked twice")
			}
		})
	}
}

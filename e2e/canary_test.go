package e2e

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// The challenger's share is what the weight says, and a key keeps its arm.
func TestWeights(t *testing.T) {
	const n = 2_000
	th := open(t, stub(t), func(p *play) { p.MirrorCap, p.MaxInFlight, p.Timeout = n, 64, "5s" })
	before := map[int]bool{}
	for _, percent := range []float64{0, 1, 5, 25, 50, 100} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			th.canary(percent)
			share := 0
			for i, r := range th.mustServe(0, n) {
				challenged := r.version == "2"
				if challenged {
					share++
				}
				if before[i] && !challenged {
					t.Errorf("user-%d lost the challenger when the weight rose", i)
				}
				before[i] = challenged
			}
			p := percent / 100
			const z = 3.2905 // two-sided 99.9 %
			if dev := math.Abs(float64(share) - n*p); dev > z*math.Sqrt(n*p*(1-p))+0.5 {
				t.Errorf("%d of %d requests at %v%%", share, n, percent)
			}
			for i, r := range th.mustServe(0, n/4) {
				if (r.version == "2") != before[i] {
					t.Errorf("user-%d changed its arm", i)
				}
			}
		})
	}
}

// Whatever the challenger does in canary, no client sees an error, few calls reach it,
// and it is rolled back for good.
func TestBadChallengerInCanary(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := open(t, stub(t), nil)
			th.canary(50)
			th.mustServe(0, 100)
			th.expectCopiesToEnd() // those that a fault strikes might trip the breaker before any client's request
			before := th.challenger.Counts().Total()
			restore := fault(th)
			th.eventually("the challenger is rolled back", func() bool {
				th.mustServe(100, 50)
				return th.rollout().Mode == adminv1.Mode_MODE_ROLLED_BACK
			})
			th.expectCopiesToEnd()
			limit := breakerThreshold + th.play.MaxInFlight + th.play.MirrorCap
			if got := th.challenger.Counts().Total() - before; got > limit {
				t.Errorf("%d calls reached the failing challenger, want at most %d", got, limit)
			}
			restore()
			th.expectSilence(name == "dies")
			records := th.records()
			for id, p := range records {
				if p.Served == recordv1.Arm_ARM_UNSPECIFIED {
					t.Errorf("record %s was served by no arm", id)
				}
			}
			if fallbacks := countFallbacks(records); fallbacks == 0 || fallbacks > limit {
				t.Errorf("%d records of a fallback, want 1 to %d", fallbacks, limit)
			}
		})
	}
}

// expectCopiesToEnd waits for the mirror to be idle.
func (th *theatre) expectCopiesToEnd() {
	th.t.Helper()
	th.eventually("the copies on their way end", func() bool { return th.metric("understudy_mirror_in_flight") == 0 })
}

// expectSilence sees that a challenger which is well again, but rolled back, gets nothing.
func (th *theatre) expectSilence(reconnects bool) {
	th.t.Helper()
	settled := th.challenger.Counts().Total()
	for range 10 {
		th.mustServe(1000, 30)
		if reconnects { // a gateway that wanted to would find the server again within 3 s
			time.Sleep(350 * time.Millisecond)
		}
	}
	if got := th.challenger.Counts().Total(); got != settled {
		th.t.Errorf("%d calls reached the challenger behind its rollback", got-settled)
	}
}

func countFallbacks(records map[string]*recordv1.Prediction) (n int) {
	for _, p := range records {
		if p.Diverted == "fallback" {
			n++
		}
	}
	return n
}

// A rollback survives the process, and so does its silence.
func TestRestartWhileRolledBack(t *testing.T) {
	th := open(t, stub(t), nil)
	th.canary(50)
	th.mustServe(0, 50)
	if _, err := th.admin.Rollback(context.Background(), &adminv1.RollbackRequest{Model: "risk", Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	if err := th.stop(); err != nil {
		t.Fatal(err)
	}
	before := th.challenger.Counts().Total()
	th.start()
	if r := th.rollout(); r.Mode != adminv1.Mode_MODE_ROLLED_BACK || r.Events[0].Reason != "enough" {
		t.Fatalf("after the restart: mode %s, last event %v", r.Mode, r.Events)
	}
	th.mustServe(0, 200)
	if got := th.challenger.Counts().Total(); got != before {
		t.Errorf("%d calls reached the rolled-back challenger", got-before)
	}
	retried, err := th.admin.Retry(context.Background(), &adminv1.RetryRequest{Model: "risk", Reason: "mended", ExpectedRevision: th.rollout().Revision})
	if err != nil || retried.Rollout.Mode != adminv1.Mode_MODE_SHADOW {
		t.Fatalf("retry: %v, %v", retried, err)
	}
	th.mustServe(0, 20)
	th.eventually("the retried challenger is mirrored", func() bool { return th.challenger.Counts().Mirrored > 0 })
}

// A healthy challenger goes its way to promotion by itself, and then answers everything,
// across restarts.
func TestPlanLeadsToPromotion(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Plan = "[{shadow: {bake: 1s, minRequests: 50}}, {setWeight: 20}, {pause: {duration: 1s, minRequests: 50}}, {setWeight: 60}, {pause: {duration: 1s, minRequests: 50}}]"
	})
	seen := map[string]bool{}
	th.eventually("promotion", func() bool {
		th.mustServe(0, 60)
		r := th.rollout()
		seen[fmt.Sprintf("%s %v", r.Mode, r.WeightPercent)] = true
		return r.Mode == adminv1.Mode_MODE_PROMOTED
	})
	for _, want := range []string{"MODE_SHADOW 0", "MODE_CANARY 20", "MODE_CANARY 60"} {
		if !seen[want] {
			t.Errorf("never saw %s on the way: %v", want, seen)
		}
	}
	if err := th.stop(); err != nil {
		t.Fatal(err)
	}
	th.start()
	champion := th.champion.Counts().Total()
	for _, r := range th.mustServe(0, 100) {
		if r.version != "2" {
			t.Fatalf("version %q answered, want the promoted one", r.version)
		}
	}
	if th.champion.Counts().Total() != champion {
		t.Error("the old champion was called")
	}
}

// revive starts the challenger again where it was.
func (th *theatre) revive(addr string) *modelserver.Server {
	trees, err := models.NewTrees()
	if err != nil {
		th.t.Fatal(err)
	}
	return th.serve(modelserver.Options{Name: "risk-v2", Version: "2", Model: trees, Addr: addr})
}

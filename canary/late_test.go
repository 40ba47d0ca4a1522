package canary

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// desk has reports for one model.
type desk struct {
	mu   sync.Mutex
	all  []rollout.Reported
	down bool
}

func (d *desk) report(t rollout.Ticket, name string, value float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, rollout.Reported{Ticket: t, Sequence: uint64(len(d.all) + 1), Name: name, Value: value})
}

func (d *desk) Last(string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return uint64(len(d.all))
}

func (d *desk) After(_ string, sequence uint64, most int) ([]rollout.Reported, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return nil, errors.New("disk gone")
	}
	return d.all[sequence:min(int(sequence)+most, len(d.all))], nil
}

func outcomeGate() rollout.Gate {
	return rollout.Gate{Metric: rollout.ReportedOutcome, Outcome: "converted", Margin: 0.02, To: 1, Horizon: time.Hour, Share: 1, MinRequests: 100,
		InCanary: true, OnFail: rollout.RollBack}
}

// serve lets n requests through, as the gateway would, and returns their tickets.
func (h *house) serve(n int, arm rollout.Arm, region string) (tickets []rollout.Ticket) {
	crowds++
	l := h.live()
	for i := range n {
		r := rollout.Routing{At: time.Now(), Key: fmt.Sprint(crowds, " ", i), Keyed: true, Arm: arm, Weight: l.State.Weight, Entered: l.State.Entered,
			Segments: [rollout.MaxSegmentSources]string{region}}
		stamp := l.Evidence.Route(r)
		l.Evidence.Observe(rollout.Outcome{Arm: arm, Weight: r.Weight, Entered: r.Entered, Stamp: stamp, Latency: time.Millisecond})
		tickets = append(tickets, rollout.Ticket{Model: "fraud", Rollout: l.State.Rollout, At: r.At.Truncate(time.Millisecond), Arm: arm,
			Entered: r.Entered, Index: l.State.PlanIndex(), Weight: r.Weight, Vote: stamp.Vote(), Segments: r.Segments})
	}
	return tickets
}

// convert reports that the first so many converted.
func (h *house) convert(tickets []rollout.Ticket, n int) {
	for _, t := range tickets[:n] {
		h.store.desk.report(t, "converted", 1)
	}
}

// A challenger that answers well but converts worse is rolled back, when its requests have
// the gate's age and not before; evidence of the process before it counts.
func TestOutcomesRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := newHouse(t, store, judged(outcomeGate()))
		h.must(toCanary(5000))
		champion, challenger := h.serve(1000, rollout.Champion, ""), h.serve(1000, rollout.Challenger, "eu")
		h.convert(champion, 150)
		h.convert(challenger, 15)
		after(59 * time.Minute)
		h.wants(rollout.ModeCanary, 5000)
		h.convert(challenger[15:], 15)
		after(10 * time.Second)
		if why := h.view().Figures.Judgement.Gates[0].Why; !strings.Contains(why, "1h old, and none is yet") {
			t.Errorf("before its age: %q", why)
		}
		h.stopRun()
		if err := h.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		h = newHouse(t, store, judged(outcomeGate()))
		after(5 * time.Minute)
		h.wants(rollout.ModeRolledBack, 0)
		if why := h.view().Changes[0].Reason; !strings.Contains(why, "gate outcome(converted): 30 of the challenger's") ||
			!strings.Contains(why, "(15%); allowed is up to 2pp less: shown to be worse") {
			t.Errorf("why: %q", why)
		}
	})
}

// One that converts as well goes on to the next step, and each key has one vote.
func TestOutcomesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), judged(outcomeGate()))
		h.play(crowd{pairs: 200})
		after(2 * time.Minute)
		h.wants(rollout.ModeCanary, 500)
		h.convert(h.serve(19_000, rollout.Champion, ""), 76)
		h.convert(h.serve(1000, rollout.Challenger, ""), 4)
		again := h.live()
		r := rollout.Routing{At: time.Now(), Key: fmt.Sprint(crowds, " ", 0), Keyed: true, Arm: rollout.Challenger, Weight: again.State.Weight, Entered: again.State.Entered}
		if v := again.Evidence.Route(r).Vote(); v != 0 {
			t.Errorf("a key that comes back votes %d", v)
		}
		after(30 * time.Minute)
		h.wants(rollout.ModeCanary, 500)
		after(40 * time.Minute)
		h.wants(rollout.ModeCanary, 5000)
		r.Entered, r.Weight = h.live().State.Entered, 5000
		if v := h.live().Evidence.Route(r).Vote(); v != rollout.First {
			t.Errorf("at the next step it votes %d, want first alone", v)
		}
	})
}

// While reports can't be read their gate holds, and says so once; what was reported
// meanwhile counts.
func TestReportsThatCanNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), judged(outcomeGate()))
		h.must(toCanary(5000))
		champion := h.serve(1000, rollout.Champion, "")
		h.serve(1000, rollout.Challenger, "")
		h.store.desk.down = true
		h.convert(champion, 200)
		after(2 * time.Hour)
		h.wants(rollout.ModeCanary, 5000)
		if n := h.log.count("reported outcomes can't be read"); n < 1 || n > 121 {
			t.Errorf("said %d times in two hours", n)
		}
		h.store.desk.mu.Lock()
		h.store.desk.down = false
		h.store.desk.mu.Unlock()
		after(5 * time.Second)
		h.wants(rollout.ModeRolledBack, 0)
	})
}

// Reports of another rollout, or of requests that nobody counted, change nothing.
func TestForeignReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory(), judged(outcomeGate()))
		h.must(toCanary(5000))
		champion, challenger := h.serve(1000, rollout.Champion, ""), h.serve(1000, rollout.Challenger, "")
		h.convert(champion, 100)
		h.convert(challenger, 100)
		for _, x := range champion[100:] {
			other := x
			other.Rollout++
			h.store.desk.report(other, "converted", 1)
			x.At = x.At.Add(-time.Minute)
			h.store.desk.report(x, "converted", 1)
			h.store.desk.report(x, "clicked", 1)
		}
		after(2 * time.Hour)
		h.wants(rollout.ModeCanary, 5000)
		if got := h.view().Figures.Judgement.Gates[0].Counts; got.ChampionBad != 100 || got.ChallengerBad != 100 || got.Champion < 990 || got.Champion > 1000 {
			t.Errorf("%+v", got)
		}
	})
}

func TestVotersAreWrittenAndReadBack(t *testing.T) {
	v := votersOf(gate.Keys{})
	for n := range uint64(1000) {
		v.put(n * 0x9e3779b97f4a7c15)
	}
	back := votersOf(v.keys())
	if back.size.Load() != v.size.Load() || back.put(0x9e3779b97f4a7c15) || !back.put(12345) {
		t.Errorf("%d keys of %d", back.size.Load(), v.size.Load())
	}
	var all sync.WaitGroup
	var fresh [4]int
	both := votersOf(gate.Keys{})
	for i := range fresh {
		all.Go(func() {
			for n := range uint64(10_000) {
				if both.put(n * 97) {
					fresh[i]++
				}
			}
		})
	}
	all.Wait()
	if sum := fresh[0] + fresh[1] + fresh[2] + fresh[3]; sum != int(both.size.Load()) || sum != 10_000 {
		t.Errorf("%d votes of 10,000 keys, size %d", sum, both.size.Load())
	}
}

package gate

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

var noon = time.UnixMilli(1_700_000_000_000)

// asked returns the n-th of tickets that come each second, from noon on.
func asked(n int, arm rollout.Arm) rollout.Ticket {
	return rollout.Ticket{At: noon.Add(time.Duration(n) * time.Second), Arm: arm, Entered: 1, Weight: 1000, Vote: rollout.Fresh | rollout.First}
}

func report(t rollout.Ticket, value float64) rollout.Reported {
	return rollout.Reported{Ticket: t, Name: "converted", Value: value}
}

// Nothing counts before its age, and then all of a batch at once: what was reported, and
// what was not.
func TestOutcomesCountAtTheirAge(t *testing.T) {
	g, all := outcomeRate("converted", 0.01), []Series{{}, {Segment: "region=eu"}}
	gates := []rollout.Gate{g}
	var c Checkpoint
	for n := range 10 {
		c.Expect(0, g, asked(n, rollout.Arm(int(rollout.Champion)+n%2)), all)
	}
	arm := asked(0, rollout.Champion)
	if !c.Report(0, g, report(arm, 1), all) {
		t.Fatal("a report in time is refused")
	}
	last := noon.Add(9 * time.Second)
	if delta := c.Settle(gates, last.Add(g.Horizon)); len(delta.Steps) != 0 {
		t.Errorf("counted too early: %+v", delta)
	}
	delta := c.Settle(gates, last.Add(g.Horizon+batchOf(g.Horizon)+settleAfter))
	for name, cell := range map[string]*Cell{"all": delta.Steps[1].Cells[all[0]], "first": delta.Steps[1].Firsts[all[0]], "cohort": delta.Steps[1].Cells[all[1]]} {
		if cell.ChampionLive != 5 || cell.ChallengerLive != 5 || cell.ChampionBad != 1 || cell.ChallengerBad != 0 {
			t.Errorf("%s: %+v", name, cell)
		}
	}
	if c.Report(0, g, report(arm, 1), all) {
		t.Error("a report is taken whose request has counted")
	}
	if delta := c.Settle(gates, last.Add(24*time.Hour)); len(delta.Steps) != 0 {
		t.Errorf("counted twice: %+v", delta)
	}
}

// Each key has one vote for a fail and one at each step for a pass.
func TestAVoteCountsForWhatItIs(t *testing.T) {
	g, all := outcomeRate("converted", 0.01), []Series{{}}
	var c Checkpoint
	for n, vote := range []rollout.Vote{rollout.Fresh | rollout.First, rollout.First, 0} {
		x := asked(n, rollout.Champion)
		x.Vote = vote
		c.Expect(0, g, x, all)
		c.Report(0, g, report(x, 1), all)
	}
	delta := c.Settle([]rollout.Gate{g}, noon.Add(2*g.Horizon))
	if fail, pass := delta.Steps[1].Cells[all[0]], delta.Steps[1].Firsts[all[0]]; fail.ChampionLive != 1 || fail.ChampionBad != 1 || pass.ChampionLive != 2 || pass.ChampionBad != 2 {
		t.Errorf("for a fail %+v, for a pass %+v", fail, pass)
	}
}

// Labels that are not known say nothing; but where one arm lacks more of them, the rest is
// not to be trusted.
func TestOutcomesThatAreNotReported(t *testing.T) {
	g, all := outcomeRate("correct", 0.01), []Series{{}}
	g.ReportedOnly = true
	var c Checkpoint
	for n := range 100 {
		x := asked(n, rollout.Arm(int(rollout.Champion)+n%2))
		c.Expect(0, g, x, all)
		if n < 50 || x.Arm == rollout.Champion {
			c.Report(0, g, report(x, 1), all)
		}
	}
	delta := c.Settle([]rollout.Gate{g}, noon.Add(2*g.Horizon))
	cell := delta.Steps[1].Cells[all[0]]
	if cell.ChampionLive != 50 || cell.ChallengerLive != 25 || cell.ChallengerBad != 25 {
		t.Errorf("counted %+v", cell)
	}
	if f := delta.Missing[1000]; f.Champion != 0 || f.Challenger != 25 {
		t.Errorf("missing %+v", f)
	}
}

// A crash forgets the requests since the checkpoint was stored: their reports count nothing,
// those before it count on.
func TestOutcomesAfterACrash(t *testing.T) {
	g, all := outcomeRate("converted", 0.01), []Series{{}}
	var c Checkpoint
	c.Expect(0, g, asked(0, rollout.Champion), all)
	c.Counted = asked(0, rollout.Champion).At
	text, err := json.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	lost := asked(3, rollout.Champion)
	c.Expect(0, g, lost, all)
	var back Checkpoint
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	back.Reopen(noon.Add(10 * time.Second))
	if back.Report(0, g, report(lost, 1), all) {
		t.Error("a report of a forgotten request is counted")
	}
	after := asked(11, rollout.Champion)
	back.Expect(0, g, after, all)
	if !back.Report(0, g, report(asked(0, rollout.Champion), 1), all) || !back.Report(0, g, report(after, 1), all) {
		t.Error("a report of a known request is refused")
	}
	delta := back.Settle([]rollout.Gate{g}, noon.Add(2*g.Horizon))
	if cell := delta.Steps[1].Cells[all[0]]; cell.ChampionLive != 2 || cell.ChampionBad != 2 {
		t.Errorf("counted %+v", cell)
	}
}

// Moments about another centre are those of the values less it.
func TestMomentsFromACentre(t *testing.T) {
	var raw, want Moments
	for _, v := range []float64{0, 0.25, 0.9, 1, 0.1} {
		raw.Observe(v, 1)
		want.Observe(v-0.3, 1)
	}
	n, sum, squares := raw.from(0.3).of(1)
	if wn, ws, wq := want.of(1); n != wn || !near(sum, ws, 1e-8) || !near(squares, wq, 1e-7) || squares < wq-1e-8 {
		t.Errorf("%v %v %v, want %v %v %v", n, sum, squares, wn, ws, wq)
	}
}

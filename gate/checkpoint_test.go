package gate

import (
	"slices"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// The steps that may still get results are kept, and the rehearsal; evidence of all.
func TestOldStepsAreForgotten(t *testing.T) {
	s := contest(rollout.ModeShadow, points())
	var c Checkpoint
	var before float64
	for entered := uint64(1); entered <= 9; entered++ {
		s.Entered = entered
		if entered == 3 {
			s.Mode, s.Weight = rollout.ModeCanary, 1000
		}
		c.Absorb(s, one(s, Cell{ChampionLive: 900, ChallengerLive: 100, ChallengerBad: 2, Pairs: 100, ChallengerOnly: 2}), time.Second)
		if now := c.Series[Series{}].logE(); now <= before {
			t.Errorf("step %d: evidence falls from %v to %v", entered, before, now)
		} else {
			before = now
		}
		if got := c.Counts.Steps[entered].Gathered; got != time.Second {
			t.Errorf("step %d: gathered over %s", entered, got)
		}
	}
	late := s
	late.Entered = 1 // a result of a step that is long gone
	c.Absorb(s, one(late, Cell{Pairs: 1}), time.Second)
	if got, want := c.Counts.entered(), []uint64{2, 6, 7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("steps %v are kept, want %v", got, want)
	}
}

// A gate of which the step has another limit has a pool for each.
func TestLimitsHavePools(t *testing.T) {
	g := everyGate()[3]
	s := contest(rollout.ModeShadow, g)
	var c Checkpoint
	for entered, limit := range []float64{0.02, 0.05, 0.02} {
		override := g
		override.Limit = limit
		s.Entered, s.Plan[0].Gates = uint64(entered+1), []rollout.Gate{override}
		c.Absorb(s, one(s, Cell{Pairs: 100, ChallengerOnly: 10}), time.Second)
	}
	if got, want := c.Series[Series{}].Pools, []Pool{{0.02, 20, 180}, {0.05, 10, 90}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Evidence of a gate that the rules do not have is left alone.
func TestForeignSeries(t *testing.T) {
	s := contest(rollout.ModeCanary, points())
	var c Checkpoint
	delta := many(s, map[Series]Cell{{7, ""}: bad})
	c.Absorb(s, delta, time.Second)
	c.Series = map[Series]*Process{{7, "a=b"}: {}}
	c.Absorb(s, delta, time.Second)
	if j := c.Judge(s, true); len(j.Gates) != 1 || j.LogEvidence != 0 {
		t.Errorf("%+v", j)
	}
}

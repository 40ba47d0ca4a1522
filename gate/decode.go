package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

// errImpossible is what no counting leaves behind.
var errImpossible = errors.New("damaged: no counts make this")

// UnmarshalJSON refuses what is no checkpoint: evidence decides, so damage must not.
func (c *Checkpoint) UnmarshalJSON(text []byte) error {
	type plain Checkpoint
	fresh := new(plain)
	if err := json.Unmarshal(text, fresh); err != nil {
		return err
	}
	*c = Checkpoint(*fresh)
	for k, p := range c.Series {
		if p == nil || !p.possible() {
			return fmt.Errorf("evidence of series %v: %w", k, errImpossible)
		}
	}
	for i, l := range c.Late {
		if !l.possible() {
			return fmt.Errorf("outcomes of gate %d: %w", i, errImpossible)
		}
	}
	return nil
}

func (l *Late) possible() bool {
	for _, b := range l.Batches {
		if b.Steps == nil {
			return false
		}
		for _, s := range b.Steps {
			if s == nil || !possible(s.Fresh) || !possible(s.First) {
				return false
			}
		}
	}
	return true
}

func possible(all map[Series]*Awaited) bool {
	for _, a := range all {
		if a == nil || min(a.Requests.Champion, a.Requests.Challenger, a.Champion.N, a.Challenger.N) < 0 ||
			max(a.Requests.Champion, a.Requests.Challenger, a.Champion.N, a.Challenger.N) > most {
			return false
		}
	}
	return true
}

// UnmarshalJSON refuses what are no counts.
func (c *Counts) UnmarshalJSON(text []byte) error {
	type plain Counts
	fresh := new(plain)
	if err := json.Unmarshal(text, fresh); err != nil {
		return err
	}
	*c = Counts(*fresh)
	return c.check()
}

func (c *Counts) check() error {
	for entered, s := range c.Steps {
		if s == nil {
			return fmt.Errorf("step %d: %w", entered, errImpossible)
		}
		for _, cells := range []map[Series]*Cell{s.Cells, s.Firsts, s.Warm} {
			for k, cell := range cells {
				if cell == nil || !cell.possible() {
					return fmt.Errorf("step %d, series %v: %w", entered, k, errImpossible)
				}
			}
		}
	}
	for _, falls := range []map[rollout.Weight]Fall{c.Keys, c.Missing} {
		for w, f := range falls {
			if min(f.Champion, f.Challenger) < 0 || max(f.Champion, f.Challenger) > most {
				return fmt.Errorf("the split at %s: %w", w, errImpossible)
			}
		}
	}
	return nil
}

// most is more than any rollout counts. Floats would round the evidence of yet more away.
const most = 1 << 40

func (p *Process) possible() bool {
	for _, pool := range p.Pools {
		if !(pool.Limit > 0 && pool.Limit < 1) || min(pool.Bad, pool.Good) < 0 || max(pool.Bad, pool.Good) > most {
			return false
		}
	}
	return len(p.Shares) == 0 || slices.Min(p.Shares) >= 0 && math.Abs(total(p.Shares)-1) < 1e-6
}

func (c *Cell) possible() bool {
	return max(c.ChampionLive, c.ChallengerLive, c.Pairs, c.Shift.N) <= most &&
		min(c.ChampionBad, c.ChallengerBad, c.ChallengerOnly, c.ChampionOnly, c.Both, c.Shift.N, c.Shift.Squares) >= 0 &&
		c.ChampionBad <= c.ChampionLive && c.ChallengerBad <= c.ChallengerLive &&
		c.ChallengerOnly <= c.Pairs && c.ChampionOnly <= c.Pairs-c.ChallengerOnly && c.Both <= c.Pairs-c.ChallengerOnly-c.ChampionOnly &&
		(c.Scores.Champion == nil) == (c.Scores.Challenger == nil) &&
		c.ChampionValues.possible() && c.ChallengerValues.possible()
}

func (v Values) possible() bool {
	return v.Sum >= 0 && v.Centred.N >= 0 && v.Centred.N <= most && v.Centred.Squares >= 0
}

package gate

import (
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

// Vote is what one request, or one pair of predictions, adds to a cell.
type Vote func(*Cell)

// Live votes with how the assigned arm served a request.
func Live(arm rollout.Arm, bad bool) Vote {
	if arm == rollout.Challenger {
		return func(c *Cell) { c.ChallengerLive++; c.ChallengerBad += oneIf(bad) }
	}
	return func(c *Cell) { c.ChampionLive++; c.ChampionBad += oneIf(bad) }
}

// Pair votes with which side of a pair is bad.
func Pair(champion, challenger bool) Vote {
	return func(c *Cell) {
		c.Pairs++
		c.ChallengerOnly += oneIf(challenger && !champion)
		c.ChampionOnly += oneIf(champion && !challenger)
		c.Both += oneIf(champion && challenger)
	}
}

// Compared votes with whether a pair's predictions differ.
func Compared(differ bool) Vote {
	return func(c *Cell) { c.Pairs++; c.ChallengerOnly += oneIf(differ) }
}

// Scored votes with the values of a pair in the output of ScoreShift or Drift; nil where it
// has none.
func Scored(g *rollout.Gate, comparison *rollout.Comparison) Vote {
	if comparison == nil {
		return nil
	}
	i := slices.IndexFunc(comparison.Outputs, func(o rollout.OutputComparison) bool { return o.Output == g.Output })
	if i < 0 || len(comparison.Outputs[i].Scores) == 0 {
		return nil
	}
	pairs := comparison.Outputs[i].Scores
	if g.Metric == rollout.Drift {
		return func(c *Cell) {
			for _, p := range pairs {
				c.Scores.Observe(p.Champion, p.Challenger)
			}
		}
	}
	var sum float64
	for _, p := range pairs {
		sum += p.Challenger - p.Champion
	}
	return func(c *Cell) { c.Shift.Observe(sum/float64(len(pairs)), g.Range) }
}

func oneIf(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

package gate

import (
	"testing"

	"github.com/understudy-serving/understudy/rollout"
)

// What is void must not hang on the order in which a map is read.
func TestTheSplitIsJudgedAlikeEachTime(t *testing.T) {
	c := Checkpoint{Counts: Counts{Keys: map[rollout.Weight]Fall{}}}
	for w := rollout.Weight(100); w < 5000; w += 100 {
		c.Counts.Keys[w] = Fall{Champion: 977 * int64(w), Challenger: 13 * int64(w)}
	}
	first := c.mismatch()
	for range 50 {
		if again := c.mismatch(); again != first {
			t.Fatalf("%v, then %v", first, again)
		}
	}
}

package simulation

import (
	"testing"
	"time"

	"gonum.org/v1/gonum/mathext"

	"github.com/understudy-serving/understudy/rollout"
)

// The small version of what the program sim shows at length. Under the race detector,
// which has nothing to find in one goroutine's arithmetic, it is smaller still.
func runs(n int) int {
	if raceEnabled {
		return max(n/10, 5)
	}
	return n
}

// tolerable is how many of n rollouts, of which each is rolled back with the probability of
// 1 %, more than are rolled back only once in a million times.
func tolerable(n int) (k int) {
	for mathext.RegIncBeta(float64(k+1), float64(n-k), 0.01) > 1e-6 {
		k++
	}
	return k
}

func TestHarmlessChallengersStay(t *testing.T) {
	for name, change := range map[string]func(*Setup){
		"plain": func(*Setup) {},
		"the challenger's errors come first": func(s *Setup) {
			s.Traffic.Champion.FailsAfter, s.Traffic.Challenger.FailsAfter = 2*time.Second, ms
		},
		"users to whom all errors happen": func(s *Setup) { s.Traffic.Users, s.Traffic.BadUsers = 200, 0.1 },
		"overload": func(s *Setup) {
			s.Traffic.Overload = Overload{Every: 5 * time.Second, For: 500 * ms, Share: 0.5}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fraud(rollout.Plan{weight(5000), pause(time.Hour)}, errorRate(0.001, true))
			s.Breaker.ConsecutiveFailures = 0
			s.Traffic.RPS, s.Traffic.Champion.Errors, s.Traffic.Challenger.Errors, s.Horizon = 100, 0.1, 0.1, 10*time.Second
			s.Rules.Gates[0].Horizon = 3 * time.Second
			change(&s)
			all, err := Many(t.Context(), s, 1, runs(200), nil)
			if err != nil {
				t.Fatal(err)
			}
			if back := CountIf(all, Result.Caught); back > tolerable(len(all)) {
				t.Errorf("%d of %d were rolled back", back, len(all))
			}
		})
	}
}

func TestARegressionIsCaughtInTime(t *testing.T) {
	s := fraud(rollout.Plan{weight(1000), pause(time.Hour)}, errorRate(0.001, true))
	s.Traffic.Users, s.Traffic.Challenger.Errors = 100_000, 0.05
	all, err := Many(t.Context(), s, 1, runs(40), nil)
	if err != nil {
		t.Fatal(err)
	}
	if caught := CountIf(all, Result.Caught); caught < len(all) {
		t.Errorf("%d of %d were caught", caught, len(all))
	}
	if raceEnabled {
		return // too few for a median
	}
	// About 1,500 requests to the verdict, and those of the 5 s until it is due.
	if n := Quantile(Of(all, func(r Result) int64 { return r.Requests }), 0.5); n < 1000 || n > 2500 {
		t.Errorf("the median one took %d requests", n)
	}
}

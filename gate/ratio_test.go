package gate

import "testing"

// A challenger at 11 % where the champion is at 10 % is within "10 % more", though all that
// tells them apart is pairs in which the challenger alone was bad.
func TestPairsBadOnBothArmsCount(t *testing.T) {
	pairs, within := place{paired: true}, ratio{0.1}
	c := &Cell{Pairs: 100_000, ChallengerOnly: 1_000, Both: 10_000}
	if e := within.mean(pairs, c, worseRisks); e > 0 {
		t.Errorf("ln E %v against a challenger that is just within the margin", e)
	}
	c.ChallengerOnly *= 3
	if e := within.mean(pairs, c, worseRisks); e < 10 {
		t.Errorf("ln E %v against one at 13 %%", e)
	}
	if is, low, high := within.estimate(pairs, c, 0.05); is != 1.3 || low < 1.1 || low > is || high < is || high > 1.6 {
		t.Errorf("ratio %v, %v to %v", is, low, high)
	}
}

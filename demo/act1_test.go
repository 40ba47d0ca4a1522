package demo

import (
	"testing"
	"time"
)

func TestGraceIsWhatTheMachineTook(t *testing.T) {
	begin := time.Now()
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	a := act{answers: []answer{{sent: at(0), done: at(20)}, {sent: at(1000), done: at(1400)}, {sent: at(2000), done: at(2250)}}}
	for _, c := range []struct {
		from, to time.Time
		want     time.Duration
	}{
		{want: 400 * time.Millisecond},
		{at(1200), at(1500), 250 * time.Millisecond},
		{at(1000), at(2100), leastGrace},
		{at(1500), at(2100), 400 * time.Millisecond},
	} {
		if got := a.graceWithout(c.from, c.to); got != c.want {
			t.Errorf("without %v to %v: %v, want %v", c.from.Sub(begin), c.to.Sub(begin), got, c.want)
		}
	}
}

package sink

import (
	"sync"
	"testing"
)

// Whoever reads while records move sees a ledger that balances and has no negative term.
func TestLedgerBalancesAtEveryInstant(t *testing.T) {
	var l ledger
	l.recovered.Store(3)
	var movers sync.WaitGroup
	for range 3 {
		movers.Go(func() {
			for i := range 20_000 {
				l.eligible.Add(1)
				if i%10 == 0 {
					l.dropUnspooled(DropIntakeFull)
					continue
				}
				l.spooled.Add(1)
				if i%10 == 1 {
					l.dropUnsent(DropSpoolFull, 1)
					continue
				}
				l.delivered.Add(1)
			}
		})
	}
	done := make(chan struct{})
	go func() { movers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		balanced(t, l.counts())
	}
	c := l.counts()
	if c.Eligible != 60_000 || c.Delivered != 48_000 || c.Dropped[DropIntakeFull] != 6000 || c.Dropped[DropSpoolFull] != 6000 || c.Spooled != 3 || c.InFlight != 0 {
		t.Errorf("in the end: %+v", c)
	}
	if len(c.Dropped) != len(dropReasons) {
		t.Errorf("%d reasons, want each of %v", len(c.Dropped), dropReasons)
	}
}

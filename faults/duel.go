package main

import (
	"context"
	"fmt"
	"time"
)

// duel is a fault of one gateway's Kafka while two others have a healthy one, and all
// three share the clients' requests.
type duel struct {
	// by is the address that the faulted gateway knows its broker under.
	by func(*broker) string
	// begin makes the fault, end undoes it.
	begin, end func(context.Context, *broker) error
	// long and quick are how long it lasts.
	long, quick time.Duration
	// also adds figures of its own at the end.
	also func(*broker, *finding)
}

const (
	// duelRate is the requests a second of each gateway, duelPadding the bytes that
	// make each request large and cost the models nothing.
	duelRate, duelPadding = 300, 8 << 10
	// warmUp is the time before anything is measured.
	warmUp = 4 * time.Second
	// rssRoom is how much more memory a gateway may need under a fault than without, in
	// the median: less than what waits for Kafka after a minute. rssLimit bounds the
	// peak, which comes with the first large batches afterwards.
	rssRoom, rssLimit = 64 << 20, 256 << 20
	// goroutineRoom is the same for goroutines.
	goroutineRoom = 64
)

// The gateways of a duel, as the load numbers them.
const (
	control = iota
	twin
	faulted
)

// scene is a duel under way.
type scene struct {
	duel
	rig      *rig
	victim   *broker
	gateways [3]*gateway
	load     *load
	watch    *watch
	// healthy and fault are when the gateway was well and warm, and the last third of
	// the first fault; backlog is the bytes in its spool then.
	healthy, fault span
	backlog        int64
	// Of the last attempt.
	during, afterwards outcome
	caughtUp           time.Duration
}

func (d duel) run(ctx context.Context, r *rig, f *finding) error {
	s := &scene{duel: d, rig: r}
	if err := s.open(ctx); err != nil {
		return err
	}
	stop := s.load.start()
	r.progress("warming up at %d requests a second each", duelRate)
	began := time.Now()
	if err := rest(ctx, warmUp); err != nil {
		return err
	}
	s.healthy = span{began.Add(warmUp / 2), time.Now()}
	if err := s.attempts(ctx, f); err != nil {
		return err
	}
	stop()
	return s.settle(ctx, f)
}

// open starts the gateways and their clients.
func (s *scene) open(ctx context.Context) (err error) {
	healthy, err := s.rig.healthy()
	if err != nil {
		return err
	}
	if s.victim, err = s.rig.victim(); err != nil {
		return err
	}
	for i, name := range []string{"control", "twin", "faulted"} {
		b, by := healthy, healthy.Addr
		if i == faulted {
			b, by = s.victim, s.by(s.victim)
		}
		if s.gateways[i], err = s.rig.serving(ctx, name, b, by, nil); err != nil {
			return err
		}
	}
	s.watch = s.rig.watch(ctx, s.gateways[faulted])
	if s.load, err = newLoad(s.rig, duelRate, 1, s.gateways[:]...); err != nil {
		return err
	}
	s.load.padding = duelPadding
	return nil
}

// attempts makes the fault until its effect on latency is decided, a few times at most.
// Only the two healthy gateways decide which run counts.
func (s *scene) attempts(ctx context.Context, f *finding) error {
	for n := 1; ; n++ {
		o, err := s.attempt(ctx)
		if err != nil {
			return err
		}
		if o.decided() || !s.rig.again() {
			f.check(o.decided() && o.ratio <= maxRatio, "%s, in run %d", o, n)
			f.note("%.2fx during the fault alone, %.2fx in the %s of catching up and after", s.during.ratio, s.afterwards.ratio, seconds(s.caughtUp))
			return nil
		}
		s.rig.progress("%s: once more", o)
	}
}

// attempt makes the fault once. The clients go on through it and through what the
// gateway has to catch up on afterwards, and both count. What does not is the time that
// it takes to undo the fault: a starting JVM leaves no core to anybody.
func (s *scene) attempt(ctx context.Context) (o outcome, err error) {
	outage := span{from: time.Now()}
	if err := s.begin(ctx, s.victim); err != nil {
		return o, fmt.Errorf("make the fault: %w", err)
	}
	last := pick(s.rig, s.long, s.quick)
	s.rig.progress("fault for %s", last)
	err = rest(ctx, last-time.Since(outage.from))
	outage.until = time.Now()
	if s.fault == (span{}) { // later ones begin with what catching up has left to the collector
		s.fault = span{outage.from.Add(last * 2 / 3), outage.until}
		s.backlog = s.watch.last().spooled
	}
	if endErr := s.end(ctx, s.victim); err == nil && endErr != nil {
		err = fmt.Errorf("undo the fault: %w", endErr)
	}
	after := span{from: time.Now()}
	if err == nil {
		err = s.catchUp(ctx)
	}
	s.caughtUp = time.Since(after.from)
	if err == nil {
		err = rest(ctx, pick(s.rig, 5*time.Second, time.Second))
	}
	after.until = time.Now()
	s.during, s.afterwards = s.race(outage).judge(), s.race(after).judge()
	return s.race(outage, after).judge(), err
}

// race gathers the latencies of some spans.
func (s *scene) race(spans ...span) (r race) {
	for _, x := range spans {
		r.control = append(r.control, s.load.latencies(control, x)...)
		r.twin = append(r.twin, s.load.latencies(twin, x)...)
		r.faulted = append(r.faulted, s.load.latencies(faulted, x)...)
	}
	return r
}

// catchUp returns when hardly anything waits in the faulted gateway's spool.
func (s *scene) catchUp(ctx context.Context) error {
	s.rig.progress("catching up")
	g := s.gateways[faulted]
	return await(ctx, "the backlog is gone", pick(s.rig, 4*time.Minute, time.Minute), func() (bool, string) {
		l, err := g.ledger(ctx)
		if err != nil {
			return false, err.Error()
		}
		return l.spooled <= duelRate, l.String()
	})
}

// settle checks what must be true when all is over.
func (s *scene) settle(ctx context.Context, f *finding) error {
	g := s.gateways[faulted]
	s.rig.progress("counting the topic")
	account, took, err := g.awaitDrained(ctx, time.Minute)
	if err != nil {
		return err
	}
	answers := s.load.of(faulted)
	good, bad, _, first := served(answers)
	f.check(bad == 0, "%d calls of %d failed%s", bad, good+bad, because(first))
	t, err := s.victim.read(ctx, g.play.Topic, s.rig.rows)
	if err != nil {
		return err
	}
	rec := t.reconcile(answers)
	f.whole(t, rec)
	f.check(account.adds() && account.eligible == int64(len(answers)) && account.dropped == 0 &&
		account.delivered == int64(len(t.records)), "%s", account)
	f.note("empty %s after the load's end", seconds(took))
	if err := s.flat(f); err != nil {
		return err
	}
	if s.also != nil {
		s.also(s.victim, f)
	}
	_, err = g.terminate(ctx)
	return err
}

// flat checks that nothing grows with what waits for Kafka.
func (s *scene) flat(f *finding) error {
	before, err := s.watch.during(s.healthy)
	if err != nil {
		return err
	}
	under, err := s.watch.during(s.fault)
	if err != nil {
		return err
	}
	ever, err := s.watch.during(span{s.healthy.from, time.Now()})
	if err != nil {
		return err
	}
	f.check(under.rss <= before.rss+rssRoom && ever.peakRSS <= rssLimit,
		"memory %s healthy, %s at the end of the fault with %s in the spool, %s at most while catching up",
		mib(before.rss), mib(under.rss), mib(s.backlog), mib(ever.peakRSS))
	f.check(ever.goroutines <= before.goroutines+goroutineRoom, "goroutines %d healthy, %d at most", before.goroutines, ever.goroutines)
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

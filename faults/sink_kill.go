package main

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	killRate, killBatch = 250, 8
	// settled is the age from which an answered request must have been in the spool
	// when the process is killed: its record is appended behind the answer, when the
	// challenger's copy has come back too.
	settled = 250 * time.Millisecond
	// readyIn bounds the median of the time to be back.
	readyIn = 2 * time.Second
)

// killed kills the gateway again and again under load. In half of the rounds Kafka is
// away, so that the next process finds a backlog.
func killed(ctx context.Context, r *rig, f *finding) error {
	b, err := r.victim()
	if err != nil {
		return err
	}
	g, err := r.serving(ctx, "killed", b, b.line.addr(), nil)
	if err != nil {
		return err
	}
	l, err := newLoad(r, killRate, killBatch, g)
	if err != nil {
		return err
	}
	stop := l.start()
	k := kills{rig: r, gateway: g, broker: b, load: l}
	rounds := pick(r, 60, 12)
	for i := range rounds {
		r.progress("kill %d of %d", i+1, rounds)
		if err := k.round(ctx, i); err != nil {
			return err
		}
	}
	b.line.set(quality{})
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	stop()
	return k.settle(ctx, f)
}

// kills are what happened.
type kills struct {
	rig     *rig
	gateway *gateway
	broker  *broker
	load    *load

	// at is when each kill was sent, gone when its process was no more.
	at, gone []time.Time
	ready    []time.Duration
	// backlogs counts starts that found records of an earlier process.
	backlogs  int
	recovered int64
}

func (k *kills) round(ctx context.Context, i int) error {
	k.broker.line.set(quality{down: i%4 >= 2})
	if err := rest(ctx, 150*time.Millisecond+rand.N(700*time.Millisecond)); err != nil {
		return err
	}
	k.at = append(k.at, time.Now())
	k.gateway.kill()
	began := time.Now()
	k.gone = append(k.gone, began)
	if err := k.gateway.start(); err != nil {
		return err
	}
	if err := k.gateway.awaitReady(ctx); err != nil {
		return err
	}
	if a := k.load.one(1, 0); a.err != nil {
		return a.err
	}
	k.ready = append(k.ready, time.Since(began))
	account, err := k.gateway.ledger(ctx)
	if err != nil {
		return err
	}
	if account.recovered > 0 {
		k.backlogs++
		k.recovered += account.recovered
	}
	return nil
}

func (k *kills) settle(ctx context.Context, f *finding) error {
	k.rig.progress("counting the topic")
	account, _, err := k.gateway.awaitDrained(ctx, time.Minute)
	if err != nil {
		return err
	}
	t, err := k.broker.read(ctx, k.gateway.play.Topic, k.rig.rows)
	if err != nil {
		return err
	}
	answers := k.load.of(0)
	good, failed, _, _ := served(answers)
	rec := t.reconcile(answers)
	lost, young, youngLost := 0, 0, 0
	for _, a := range answers {
		if a.err == nil && k.age(a) < settled {
			young++
		}
	}
	for _, a := range rec.missing {
		if k.age(a) < settled {
			youngLost++
		} else {
			lost++
		}
	}
	f.check(lost == 0, "%d kills: of %d ids answered %s or more before the next kill %d are missing on the topic", len(k.at), good-young, settled, lost)
	f.note("of %d younger ones %d", young, youngLost)
	f.sound(t, rec)
	f.check(rec.unanswered <= failed, "%d records of the %d calls that a kill cut off", rec.unanswered, failed)
	f.check(median(k.ready) <= readyIn, "answers again %s after the start in the median, %s at most", seconds(median(k.ready)), seconds(quantile(k.ready, 1)))
	f.check(k.backlogs > 0, "%d starts found %d records", k.backlogs, k.recovered)
	f.check(account.adds(), "the last process: %s", account)
	_, err = k.gateway.terminate(ctx)
	return err
}

// age is how long an answer's process lived on behind it, at least: from when the client
// had it to when the kill was sent. It is for ever behind the last kill, and negative
// for an answer that outlived its process on the way.
func (k *kills) age(a answer) time.Duration {
	for i, gone := range k.gone {
		if gone.After(a.sent) {
			return k.at[i].Sub(a.done)
		}
	}
	return time.Hour
}

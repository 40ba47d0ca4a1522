package main

import (
	"context"
	"time"
)

const rollRate, rollBatch = 250, 8

// rolled ends the gateway with SIGTERM again and again under load, and starts the next
// one on its ports. What finds nobody listening in between is tried again by the client
// and counted on its own; any other error is a failed call. The champion's count tells
// whether a call that a gateway took got lost without the client's knowing.
func rolled(ctx context.Context, r *rig, f *finding) error {
	b, err := r.victim()
	if err != nil {
		return err
	}
	g, err := r.serving(ctx, "rolled", b, b.Addr, nil)
	if err != nil {
		return err
	}
	l, err := newLoad(r, rollRate, rollBatch, g)
	if err != nil {
		return err
	}
	before := r.champion.Counts().Live
	stop := l.start()
	n := pick(r, 50, 6)
	var exits []time.Duration
	var left int64
	for i := range n {
		r.progress("restart %d of %d", i+1, n)
		took, recovered, err := restart(ctx, g)
		if err != nil {
			return err
		}
		exits = append(exits, took)
		left += recovered
	}
	if err := rest(ctx, time.Second); err != nil {
		return err
	}
	stop()
	f.note("%d restarts, exit %s after SIGTERM in the median, %s at most", n, seconds(median(exits)), seconds(quantile(exits, 1)))
	f.check(left == 0, "%d records left in the spool by an orderly end", left)
	return settleRoll(ctx, r, g, b, l, before, f)
}

// restart lets the gateway serve for a second, ends it, and starts it again. It returns
// how long the end took and how many records the new process found.
func restart(ctx context.Context, g *gateway) (took time.Duration, recovered int64, err error) {
	if err := rest(ctx, time.Second); err != nil {
		return 0, 0, err
	}
	if took, err = g.terminate(ctx); err != nil {
		return 0, 0, err
	}
	if err := g.start(); err != nil {
		return 0, 0, err
	}
	if err := g.awaitReady(ctx); err != nil {
		return 0, 0, err
	}
	account, err := g.ledger(ctx)
	return took, account.recovered, err
}

func settleRoll(ctx context.Context, r *rig, g *gateway, b *broker, l *load, before int, f *finding) error {
	account, _, err := g.awaitDrained(ctx, 20*time.Second)
	if err != nil {
		return err
	}
	if _, err := g.terminate(ctx); err != nil {
		return err
	}
	t, err := b.read(ctx, g.play.Topic, r.rows)
	if err != nil {
		return err
	}
	answers := l.of(0)
	good, bad, refused, first := served(answers)
	f.check(bad == 0, "%d calls of %d failed%s", bad, good+bad, because(first))
	reached := r.champion.Counts().Live - before
	f.check(reached == good, "the champion saw %d calls for %d answers", reached, good)
	f.note("%d tries between processes found nobody listening", refused)
	rec := t.reconcile(answers)
	f.whole(t, rec)
	f.check(t.messages == rec.answered && rec.unanswered == 0, "%d messages for %d ids", t.messages, rec.answered)
	f.check(account.adds(), "the last process: %s", account)
	return nil
}

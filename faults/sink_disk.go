package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// diskBytes is the whole disk under the spool; its maxBytes is far more.
	diskBytes = 32 << 20
	diskRate  = 120
	diskPad   = 30 << 10 // bytes in a request
	// overfull is how many records must have been dropped before the disk counts as full.
	overfull = 100
)

// diskFull fills the disk under a spool, once with the spool's own backlog and once with
// a stranger's file, and makes room again each time.
func diskFull(ctx context.Context, r *rig, f *finding) error {
	b, err := r.victim()
	if err != nil {
		return err
	}
	disk := filepath.Join(r.dir, r.name("disk"))
	if err := r.smallDisk(disk, diskBytes); err != nil {
		return err
	}
	g, err := r.serving(ctx, "disk", b, b.line.addr(), func(p *play) {
		p.Spool, p.SpoolBytes = filepath.Join(disk, "spool"), "1GiB"
	})
	if err != nil {
		return err
	}
	l, err := newLoad(r, diskRate, 1, g)
	if err != nil {
		return err
	}
	l.padding = diskPad
	stop := l.start()
	if err := fillWithBacklog(ctx, r, g, b, f); err != nil {
		return err
	}
	if err := fillWithStranger(ctx, r, g, disk, f); err != nil {
		return err
	}
	stop()
	return settleDisk(ctx, r, g, b, l, f)
}

// smallDisk mounts a disk of bytes at dir until the row ends.
func (r *rig) smallDisk(dir string, bytes int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := mountMemory(dir, bytes); err != nil {
		return err
	}
	r.after(func() {
		if err := unmount(dir); err != nil {
			r.progress("%s stays mounted: %v", dir, err)
		}
	})
	return nil
}

const droppedMetric = "understudy_records_dropped_total"

// dropped returns how many records the gateway has given up.
func (g *gateway) dropped(ctx context.Context) (float64, error) {
	m, err := g.scrape(ctx)
	return m.sum(droppedMetric), err
}

// awaitOverfull returns when records are being dropped.
func (g *gateway) awaitOverfull(ctx context.Context) error {
	before, err := g.dropped(ctx)
	if err != nil {
		return err
	}
	return await(ctx, "the disk is full and records are dropped", time.Minute, func() (bool, string) {
		now, err := g.dropped(ctx)
		return err == nil && now >= before+overfull, fmt.Sprintf("%.0f dropped, %v", now-before, err)
	})
}

// awaitRecovered returns when the spool takes every record again: for a second none is
// dropped, though clients go on. It says how long that took.
func (g *gateway) awaitRecovered(ctx context.Context) (time.Duration, error) {
	began, steady := time.Now(), time.Now()
	last := -1.0
	err := await(ctx, "the spool takes records again", 30*time.Second, func() (bool, string) {
		now, err := g.dropped(ctx)
		if err != nil || now != last {
			last, steady = now, time.Now()
		}
		return time.Since(steady) >= time.Second, fmt.Sprintf("%.0f dropped, %v", now, err)
	})
	return steady.Sub(began), err
}

func fillWithBacklog(ctx context.Context, r *rig, g *gateway, b *broker, f *finding) error {
	r.progress("no Kafka: the spool fills a disk of %s", mib(diskBytes))
	b.line.set(quality{down: true})
	if err := g.awaitOverfull(ctx); err != nil {
		return err
	}
	if err := rest(ctx, pick(r, 10*time.Second, 2*time.Second)); err != nil {
		return err
	}
	b.line.set(quality{})
	r.progress("Kafka is back")
	took, err := g.awaitRecovered(ctx)
	if err != nil {
		return err
	}
	dropped, err := g.dropped(ctx)
	f.check(dropped >= overfull, "full of backlog: %.0f dropped and counted, records taken again %s after Kafka was back", dropped, seconds(took))
	return err
}

// fillWithStranger fills the disk with what is not the spool's, and takes it away.
func fillWithStranger(ctx context.Context, r *rig, g *gateway, disk string, f *finding) error {
	r.progress("another's file fills the disk")
	before, err := g.dropped(ctx)
	if err != nil {
		return err
	}
	file := filepath.Join(disk, "strangers-file")
	hogging, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		hog(hogging, file)
	}()
	err = g.awaitOverfull(ctx)
	cancel()
	<-ended
	if removeErr := os.Remove(file); err == nil {
		err = removeErr
	}
	if err != nil {
		return err
	}
	took, err := g.awaitRecovered(ctx)
	if err != nil {
		return err
	}
	dropped, err := g.dropped(ctx)
	f.check(dropped >= before+overfull, "full of a stranger's file: %.0f dropped and counted, records taken again %s after it was gone",
		dropped-before, seconds(took))
	return err
}

// hog takes all room on the disk, and whatever becomes free, until ctx ends.
func hog(ctx context.Context, file string) {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return // awaitOverfull tells
	}
	defer out.Close()
	for page := make([]byte, 4096); ctx.Err() == nil; {
		if _, err := out.Write(page); err != nil {
			_ = rest(ctx, time.Millisecond)
		}
	}
}

func settleDisk(ctx context.Context, r *rig, g *gateway, b *broker, l *load, f *finding) error {
	r.progress("counting the topic")
	account, _, err := g.awaitDrained(ctx, time.Minute)
	if err != nil {
		return err
	}
	answers := l.of(0)
	good, bad, _, first := served(answers)
	f.check(bad == 0, "%d calls of %d failed%s", bad, good+bad, because(first))
	t, err := b.read(ctx, g.play.Topic, r.rows)
	if err != nil {
		return err
	}
	rec := t.reconcile(answers)
	f.check(int64(len(rec.missing)) == account.dropped, "%d ids missing on the topic, %d counted as dropped", len(rec.missing), account.dropped)
	m, err := g.scrape(ctx)
	if err != nil {
		return err
	}
	after := m.sum(droppedMetric)
	for _, reason := range []string{"intake_full", "spool_full", "spool_failed", "too_large"} {
		after -= m.sum(droppedMetric, `reason="`+reason+`"`)
	}
	f.check(after == 0, "%.0f of these acknowledged before", after)
	f.sound(t, rec)
	f.check(account.adds() && account.eligible == int64(len(answers)), "%s", account)
	_, err = g.terminate(ctx)
	return err
}

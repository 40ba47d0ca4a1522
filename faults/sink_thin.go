package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	// thinBytes is how large the disk seems, and thinRoom how much there is for it.
	thinBytes, thinRoom = 256 << 20, 12 << 20
	// thinRate and thinPadding are what clients send. While fsyncs fail, for a few
	// seconds, that is less than the spool keeps in memory of what it could not sync.
	thinRate, thinPadding = 60, 16 << 10
	// failures is how many fsyncs must have failed before the disk is given room.
	failures = 3
)

// fsyncFails puts the spool on a disk that seems to have room: the system takes what is
// written, and the fsync fails.
func fsyncFails(ctx context.Context, r *rig, f *finding) error {
	b, err := r.victim()
	if err != nil {
		return err
	}
	d, err := r.thinDisk(ctx)
	if err != nil {
		return err
	}
	g, err := r.serving(ctx, "thin", b, b.line.addr(), func(p *play) {
		p.Spool, p.SpoolBytes = filepath.Join(d.dir, "spool"), "1GiB"
	})
	if err != nil {
		return err
	}
	l, err := newLoad(r, thinRate, 1, g)
	if err != nil {
		return err
	}
	l.padding = thinPadding
	stop := l.start()
	b.line.set(quality{down: true})
	r.progress("no Kafka: the spool grows on a disk that loses what it takes")
	if err := g.awaitAbandoned(ctx, failures); err != nil {
		return err
	}
	if err := rest(ctx, 2*time.Second); err != nil {
		return err
	}
	m, err := g.scrape(ctx)
	if err != nil {
		return err
	}
	f.note("%.0f segments abandoned while fsyncs failed", m.sum(abandonedMetric))
	if err := d.grow(); err != nil {
		return err
	}
	r.progress("the disk has room")
	began := time.Now()
	if err := g.awaitSynced(ctx); err != nil {
		return err
	}
	f.note("all synced %s after there was room", seconds(time.Since(began)))
	b.line.set(quality{})
	stop()
	return settleDisk(ctx, r, g, b, l, f)
}

const abandonedMetric = "understudy_sink_spool_abandoned_segments_total"

// awaitAbandoned returns when the spool has given up so many segments.
func (g *gateway) awaitAbandoned(ctx context.Context, n float64) error {
	return await(ctx, "the spool has seen fsyncs fail", time.Minute, func() (bool, string) {
		m, err := g.scrape(ctx)
		return err == nil && m.sum(abandonedMetric) >= n, fmt.Sprintf("%.0f segments abandoned, %v", m.sum(abandonedMetric), err)
	})
}

// awaitSynced returns when hardly anything would be lost with the power.
func (g *gateway) awaitSynced(ctx context.Context) error {
	const metric = "understudy_sink_spool_sync_age_seconds"
	return await(ctx, "the spool's fsyncs succeed again", 30*time.Second, func() (bool, string) {
		m, err := g.scrape(ctx)
		age, ok := m[metric]
		return ok && age < 1, fmt.Sprintf("the last one %.1f s ago, %v", age, err)
	})
}

// thinDisk is a disk that has less room than it says.
type thinDisk struct{ dir, room string }

// thinDisk mounts one until the row ends. It has no journal, which would end the disk
// for good with its first error.
func (r *rig) thinDisk(ctx context.Context) (*thinDisk, error) {
	base := filepath.Join(r.dir, r.name("thin"))
	d := &thinDisk{dir: filepath.Join(base, "disk"), room: filepath.Join(base, "room")}
	if err := r.smallDisk(d.room, thinRoom); err != nil {
		return nil, err
	}
	image := filepath.Join(d.room, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, thinBytes); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		return nil, err
	}
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", image},
		{"mount", "-o", "loop,discard", image, d.dir},
	} {
		if err := execute(ctx, command...); err != nil {
			return nil, fmt.Errorf("%w: a disk in a file: %w", errSkip, err)
		}
	}
	r.after(func() {
		if err := unmount(d.dir); err != nil {
			r.progress("%s stays mounted: %v", d.dir, err)
		}
	})
	return d, nil
}

// grow gives the disk the room that it promised.
func (d *thinDisk) grow() error { return resizeMemory(d.room, 2*thinBytes) }

// execute runs a command; the error has what it said.
func execute(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

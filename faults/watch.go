package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// sample is a gateway's vitals at one moment.
type sample struct {
	at         time.Time
	rss        int64 // resident memory, bytes
	spooled    int64 // bytes in the spool
	goroutines int
}

// watch follows a gateway's vitals.
type watch struct {
	mu      sync.Mutex
	samples []sample
	failed  error // of the last look
}

// span is a stretch of time.
type span struct{ from, until time.Time }

// watch begins to follow g; it ends with the row.
func (r *rig) watch(ctx context.Context, g *gateway) *watch {
	w := &watch{}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			w.look(ctx, g)
			_ = rest(ctx, 250*time.Millisecond)
		}
	}()
	r.after(func() {
		cancel()
		<-ended
	})
	return w
}

func (w *watch) look(ctx context.Context, g *gateway) {
	rss, err := g.rss()
	m, err2 := g.scrape(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed = errors.Join(err, err2); w.failed == nil {
		w.samples = append(w.samples, sample{time.Now(), rss, int64(m.sum("understudy_sink_spooled_bytes")), int(m["go_goroutines"])})
	}
}

// last returns the latest sample.
func (w *watch) last() (s sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.samples); n > 0 {
		s = w.samples[n-1]
	}
	return s
}

// vitals sum samples up.
type vitals struct {
	rss        int64 // the median
	peakRSS    int64
	goroutines int // the most
}

// during sums up what was seen in a span.
func (w *watch) during(s span) (v vitals, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var rss []int64
	for _, x := range w.samples {
		if x.at.Before(s.from) || x.at.After(s.until) {
			continue
		}
		rss = append(rss, x.rss)
		v.goroutines = max(v.goroutines, x.goroutines)
	}
	if len(rss) == 0 {
		return v, errors.Join(errors.New("the gateway's memory was not seen"), w.failed)
	}
	slices.Sort(rss)
	v.rss, v.peakRSS = rss[len(rss)/2], rss[len(rss)-1]
	return v, nil
}

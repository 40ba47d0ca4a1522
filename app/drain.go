package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/sink"
	"github.com/understudy-serving/understudy/spool"
)

// Drained says how far DrainSpool has come.
type Drained struct {
	// Found records were in the spool, of which Delivered are on the topic and Left
	// are still in the spool.
	Found, Delivered, Left int64
	// Dropped has the others by reason; all of them are there.
	Dropped map[rollout.Reason]int64
}

// DrainSpool delivers what a gateway that no longer runs has left in its spool, and
// returns when nothing is left or ctx ends. It calls report every second. The error
// wraps spool.ErrLocked where a gateway owns the spool.
func DrainSpool(ctx context.Context, cfg *config.Config, log *slog.Logger, report func(Drained)) (Drained, error) {
	if cfg.Sink == nil || cfg.Sink.Spool == nil {
		return Drained{}, errors.New("sink.spool: the file configures none, there is nothing to drain")
	}
	o, err := sinkOptions(cfg.Sink)
	if err != nil {
		return Drained{}, fmt.Errorf("sink: %w", err)
	}
	o.Disk.Logger, o.Logger = log, log
	disk, err := spool.Open(*o.Disk)
	if err != nil {
		return Drained{}, err
	}
	o.Spool = disk
	s, err := sink.New(o)
	if err != nil {
		_, _ = disk.Close() // nothing was put in
		return Drained{}, err
	}
	watch(ctx, s, report)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), minFlush)
	defer cancel()
	err = s.Close(end)
	return drained(s), err
}

// watch reports until s has nothing left or ctx ends.
func watch(ctx context.Context, s *sink.Sink, report func(Drained)) {
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for said := time.Now(); ; {
		now := drained(s)
		if now.Left == 0 {
			return
		}
		if time.Since(said) >= time.Second {
			said = time.Now()
			report(now)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func drained(s *sink.Sink) Drained {
	c := s.Snapshot()
	return Drained{Found: c.Recovered, Delivered: c.Delivered, Left: c.Spooled, Dropped: c.Dropped}
}

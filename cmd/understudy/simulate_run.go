package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/simulation"
)

// simulate plays the rollouts of both kinds side by side, so that one who interrupts has
// something of either.
func (w *wanted) simulate(ctx context.Context, healthy simulation.Setup, worse *simulation.Setup, b *progressBar) (*forecast, error) {
	setups := []simulation.Setup{healthy}
	if worse != nil {
		setups = append(setups, *worse)
	}
	runs, first, err := w.runsFor(ctx, setups, b)
	if err != nil {
		return nil, err
	}
	all := make([][]*simulation.Result, len(setups))
	for k := range setups {
		all[k] = make([]*simulation.Result, runs)
		all[k][0] = first[k]
	}
	b.begin(len(setups)*runs, len(setups))
	var failed error
	var once sync.Once
	simulation.Parallel(ctx, len(setups)*(runs-1), func(i int) {
		kind, run := i%len(setups), 1+i/len(setups)
		r, err := simulation.Run(ctx, setups[kind], w.seed+uint64(run))
		switch {
		case err == nil:
			all[kind][run] = &r
			b.step()
		case ctx.Err() == nil:
			once.Do(func() { failed = err })
		}
	})
	b.end()
	if failed != nil {
		return nil, failed
	}
	return w.forecast(setups, all, runs), nil
}

// patience is about how long a simulation takes where nobody says how many runs.
const patience = time.Minute

// runsFor plays the first rollout of each kind, and says how many there are to be.
func (w *wanted) runsFor(ctx context.Context, setups []simulation.Setup, b *progressBar) (runs int, first []*simulation.Result, err error) {
	const least, most = 20, 1000
	began := time.Now()
	for _, s := range setups {
		r, err := simulation.Run(ctx, s, w.seed)
		if ctx.Err() != nil {
			return 0, nil, errors.New("interrupted before the first rollout had ended")
		}
		if err != nil {
			return 0, nil, err
		}
		first = append(first, &r)
	}
	each := max(time.Since(began), time.Microsecond) / time.Duration(runtime.GOMAXPROCS(0))
	if runs = w.runs; runs == 0 {
		runs = min(max(int(patience/max(each, 1)), least), most)
	}
	kinds := ""
	if len(setups) > 1 {
		kinds = " of each kind"
	}
	b.say("%s rollouts%s, about %s", count(int64(runs)), kinds, span(time.Duration(runs)*each+time.Second/2))
	return runs, first, nil
}

// progressBar says on a terminal how far it is. Elsewhere it says only how long it will take.
type progressBar struct {
	out   io.Writer
	live  bool
	mu    sync.Mutex
	began time.Time
	done  int
	first int // were done when it began
	all   int
	drawn time.Time
}

func newProgressBar(out io.Writer) *progressBar { return &progressBar{out: out, live: isTerminal(out)} }

func (b *progressBar) say(format string, args ...any) { fmt.Fprintf(b.out, format+"\n", args...) }

// begin counts from done on.
func (b *progressBar) begin(all, done int) {
	b.began, b.all, b.done, b.first = time.Now(), all, done, done
}

func (b *progressBar) step() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done++
	if !b.live || time.Since(b.drawn) < 100*time.Millisecond {
		return
	}
	b.drawn = time.Now()
	const width = 30
	full := width * b.done / b.all
	rate := float64(b.done-b.first) / max(time.Since(b.began).Seconds(), 1e-3)
	left := time.Duration(float64(b.all-b.done) / rate * float64(time.Second))
	fmt.Fprintf(b.out, "\r%s[%-*s] %s of %s, %.1f/s, %s left", eraseLine, width, hashes(full), count(int64(b.done)), count(int64(b.all)), rate, span(left))
}

func hashes(n int) string {
	const most = "##############################"
	return most[:n]
}

func (b *progressBar) end() {
	if b.live {
		fmt.Fprint(b.out, "\r"+eraseLine)
	}
}

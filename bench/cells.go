package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The sizes of requests in bytes.
const (
	smallSize  = 200
	middleSize = 16 << 10
	largeSize  = 600_000
)

// cell is one kind of load.
type cell struct {
	Size    int `json:"size"`
	Callers int `json:"callers"`
	// Rate is requests a second of an open loop, which has no callers; 0 is a closed one.
	Rate float64 `json:"rate,omitempty"`
}

func (c cell) String() string {
	load := fmt.Sprintf("%d callers", c.Callers)
	switch {
	case c.Rate > 0:
		load = fmt.Sprintf("%.0f/s", c.Rate)
	case c.Callers == 1:
		load = "1 caller"
	}
	return sizeName(c.Size) + ", " + load
}

func sizeName(size int) string {
	switch {
	case size < 1000:
		return fmt.Sprintf("%d B", size)
	case size%1024 == 0:
		return fmt.Sprintf("%d KiB", size>>10)
	}
	return fmt.Sprintf("%d KB", size/1000)
}

// The cells that goals speak of.
var (
	alone     = cell{Size: smallSize, Callers: 1}
	some      = cell{Size: smallSize, Callers: 16}
	many      = cell{Size: smallSize, Callers: 64}
	largeSome = cell{Size: largeSize, Callers: 16}
)

// cells lists the loads, smaller messages first: what large ones leave in a process's
// memory is not to be blamed on small ones.
func (f flags) cells() []cell {
	open := cell{Size: smallSize, Rate: 2000}
	if f.quick {
		return []cell{alone, some, many, open, {Size: middleSize, Callers: 16}, largeSome}
	}
	all := []cell{alone, some, many, open}
	for _, size := range []int{middleSize, largeSize} {
		for _, callers := range []int{1, 16, 64} {
			all = append(all, cell{Size: size, Callers: callers})
		}
	}
	return all
}

// sample is what one arm did in one cell in one round.
type sample struct {
	Round int `json:"round"`
	// CPU is the proxy's time a request in µs, 0 for direct; PerSecond are requests.
	CPU       float64 `json:"cpu_us"`
	PerSecond float64 `json:"per_second"`
	// P50 and P99 are in µs.
	P50    float64 `json:"p50_us"`
	P99    float64 `json:"p99_us"`
	PeakMB float64 `json:"peak_mb"`
	Failed int     `json:"failed,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// row is all that one arm did in one cell.
type row struct {
	Arm     string   `json:"arm"`
	Cell    cell     `json:"cell"`
	Samples []sample `json:"samples"`
}

// over gathers one figure of the rounds that have it.
func (r *row) over(figure func(sample) float64) map[int]float64 {
	out := map[int]float64{}
	if r == nil {
		return out
	}
	for _, s := range r.Samples {
		if v := figure(s); v > 0 {
			out[s.Round] = v
		}
	}
	return out
}

func (r *row) spread(figure func(sample) float64) spread {
	var all []float64
	for _, v := range r.over(figure) {
		all = append(all, v)
	}
	return spreadOf(all)
}

func cpu(s sample) float64       { return s.CPU }
func perSecond(s sample) float64 { return s.PerSecond }
func p50(s sample) float64       { return s.P50 }
func p99(s sample) float64       { return s.P99 }
func peakMB(s sample) float64    { return s.PeakMB }

// results are all rows.
type results []*row

func (all results) find(arm string, c cell) *row {
	for _, r := range all {
		if r.Arm == arm && r.Cell == c {
			return r
		}
	}
	return nil
}

// ratio is one arm's figure to another's in the same cell, by rounds.
func (all results) ratio(of, to string, c cell, figure func(sample) float64) spread {
	return spreadOf(ratios(all.find(of, c).over(figure), all.find(to, c).over(figure)))
}

// length is how long an arm is loaded in a round. Many short rounds say more than few long
// ones: what else happens on the machine lasts for seconds, and then meets all arms.
func (f flags) length() (rounds int, warm, measure time.Duration) {
	rounds, warm, measure = 12, 100*time.Millisecond, 400*time.Millisecond
	if f.quick {
		rounds, measure = 3, 300*time.Millisecond
	}
	if f.rounds > 0 {
		rounds = f.rounds
	}
	return rounds, warm, measure
}

// measureCells runs every arm in every cell, a cell's rounds one after the other.
func (b *bench) measureCells(ctx context.Context) (all results, err error) {
	arms := slices.DeleteFunc(slices.Clone(b.stands), func(s *standing) bool { return s.apart })
	order := slices.Clone(arms)
	rounds, _, _ := b.length()
	for _, c := range b.cells() {
		if !b.onlyCell.MatchString(c.String()) {
			continue
		}
		rows := make(map[string]*row, len(arms))
		for _, s := range arms {
			rows[s.name] = &row{Arm: s.name, Cell: c}
			all = append(all, rows[s.name])
		}
		for round := range rounds {
			rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			for _, s := range order {
				b.t.progress("%s, round %d of %d: %s", c, round+1, rounds, s.name)
				m, err := b.measure(ctx, s, c)
				if err != nil {
					return nil, err
				}
				m.Round = round
				rows[s.name].Samples = append(rows[s.name].Samples, m)
			}
		}
		b.t.cell(all, c)
	}
	return all, nil
}

// rest lets what one arm still does end before the next begins.
const rest = 20 * time.Millisecond

// measure loads one arm once.
func (b *bench) measure(ctx context.Context, s *standing, c cell) (sample, error) {
	_, warm, length := b.length()
	call := s.client.sending(b.ofSize(c.Size))
	var used [2]time.Duration
	var failed error
	read := func(i int) func() {
		return func() {
			var err error
			if used[i], err = s.tree.cpu(); err != nil {
				failed = fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	s.tree.forget()
	var w window
	if c.Rate > 0 {
		w = paced(ctx, []caller{call}, func(int) int { return 0 }, c.Rate, warm, length, marks{read(0), read(1)})[0]
	} else {
		w = closed(ctx, call, c.Callers, warm, length, marks{read(0), read(1)})
	}
	if ctx.Err() != nil {
		return sample{}, context.Cause(ctx)
	}
	out := w.sample(used[1] - used[0])
	out.PeakMB = float64(s.tree.peak()) / 1e6
	pause(ctx, rest)
	return out, failed
}

func (w window) sample(used time.Duration) sample {
	slices.Sort(w.latencies)
	s := sample{P50: micros(quantile(w.latencies, 0.5)), P99: micros(quantile(w.latencies, 0.99)), Failed: w.failed}
	if w.failure != nil {
		s.Error = strings.ToValidUTF8(w.failure.Error(), "")
	}
	if n := len(w.latencies); n > 0 {
		s.CPU = micros(used) / float64(n+w.failed)
		s.PerSecond = float64(n) / w.took.Seconds()
	}
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

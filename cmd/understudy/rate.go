package main

import (
	"strconv"
	"time"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// quantiles is what both kinds of figures have.
type quantiles interface {
	GetP50() *durationpb.Duration
	GetP95() *durationpb.Duration
	GetP99() *durationpb.Duration
}

// rate is requests per second; negative means not known yet.
type rate float64

const unknownRate rate = -1

// String returns two digits at least, or "-".
func (r rate) String() string {
	switch {
	case r < 0:
		return "-"
	case r < 10:
		return strconv.FormatFloat(float64(r), 'f', 1, 64)
	}
	return count(int64(r + 0.5))
}

// rates are of one moment of a watch; the zero value is of none.
type rates struct {
	live                         bool
	champion, challenger, copies rate
}

// meter turns the counts of one rollout into rates over the last seconds.
type meter struct{ samples []sample }

type sample struct {
	at                           time.Time
	champion, challenger, copies int64
}

// rateWindow is short enough to follow a change of weight, and long enough to be calm.
const rateWindow = 5 * time.Second

// add takes the counts of now and returns the rates since the oldest ones in the window.
// Counts that fell belong to another rollout or process and begin anew.
func (m *meter) add(r *adminv1.Rollout, now time.Time) rates {
	next := sample{now, r.GetChampionFigures().GetRequests(), r.GetChallengerFigures().GetRequests(), r.GetMirrorFigures().GetSent()}
	if n := len(m.samples); n > 0 {
		last := m.samples[n-1]
		if next.champion < last.champion || next.challenger < last.challenger || next.copies < last.copies {
			m.samples = nil
		}
	}
	m.samples = append(m.samples, next)
	// The oldest one is at or just beyond the window's edge.
	for len(m.samples) > 2 && now.Sub(m.samples[1].at) >= rateWindow {
		m.samples = m.samples[1:]
	}
	first := m.samples[0]
	passed := now.Sub(first.at).Seconds()
	if passed < 0.05 {
		return rates{true, unknownRate, unknownRate, unknownRate}
	}
	per := func(before, after int64) rate { return rate(float64(after-before) / passed) }
	return rates{true, per(first.champion, next.champion), per(first.challenger, next.challenger), per(first.copies, next.copies)}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metrics are a gateway's series with their values, as /metrics tells them.
type metrics map[string]float64

// scrape reads a gateway's metrics.
func (g *gateway) scrape(ctx context.Context) (metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.play.Admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("metrics of gateway %s: %w", g.name, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics of gateway %s: %s, %w", g.name, resp.Status, errorOr(err, "want 200"))
	}
	return parseMetrics(string(text)), nil
}

func parseMetrics(text string) metrics {
	m := metrics{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		cut := strings.LastIndexByte(line, ' ')
		if line == "" || line[0] == '#' || cut < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[cut+1:], 64); err == nil {
			m[line[:cut]] = v
		}
	}
	return m
}

// sum adds a metric's series up whose labels contain all of with.
func (m metrics) sum(name string, with ...string) (sum float64) {
series:
	for series, v := range m {
		base, labels, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		for _, w := range with {
			if !strings.Contains(labels, w) {
				continue series
			}
		}
		sum += v
	}
	return sum
}

// ledger is a gateway's account of records.
type ledger struct{ eligible, recovered, delivered, spooled, inFlight, dropped int64 }

var errNoLedger = errors.New("the gateway shows no ledger: understudy_records_eligible_total is missing")

func (m metrics) ledger() (l ledger, err error) {
	if _, ok := m["understudy_records_eligible_total"]; !ok {
		return l, errNoLedger
	}
	read := func(name string) int64 { return int64(m.sum("understudy_records_" + name)) }
	return ledger{read("eligible_total"), read("recovered_total"), read("delivered_total"),
		read("spooled"), read("in_flight"), read("dropped_total")}, nil
}

// adds tells whether nothing is missing from the account.
func (l ledger) adds() bool {
	return l.eligible+l.recovered == l.delivered+l.spooled+l.inFlight+l.dropped &&
		min(l.eligible, l.recovered, l.delivered, l.spooled, l.inFlight, l.dropped) >= 0
}

func (l ledger) String() string {
	sign := "="
	if !l.adds() {
		sign = "≠"
	}
	return fmt.Sprintf("%d eligible + %d recovered %s %d delivered + %d spooled + %d in flight + %d dropped",
		l.eligible, l.recovered, sign, l.delivered, l.spooled, l.inFlight, l.dropped)
}

// ledger reads a gateway's account.
func (g *gateway) ledger(ctx context.Context) (ledger, error) {
	m, err := g.scrape(ctx)
	if err != nil {
		return ledger{}, err
	}
	return m.ledger()
}

// awaitDrained returns when everything that the gateway accepted is delivered or
// dropped, with the account and how long that took.
func (g *gateway) awaitDrained(ctx context.Context, patience time.Duration) (l ledger, took time.Duration, err error) {
	began := time.Now()
	err = await(ctx, "gateway "+g.name+" has delivered its records", patience, func() (bool, string) {
		var err error
		if l, err = g.ledger(ctx); err != nil {
			return false, err.Error()
		}
		return l.spooled == 0 && l.inFlight == 0, l.String()
	})
	return l, time.Since(began), err
}

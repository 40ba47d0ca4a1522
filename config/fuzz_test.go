package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Whatever the text: no panic, and either errors that say where or a config within
// its bounds.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "../understudy.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data)
		if err != nil {
			if c != nil || !errors.Is(err, ErrInvalid) || len(All(err)) == 0 {
				t.Fatalf("config %v, error %v", c, err)
			}
			for _, e := range All(err) {
				if e.Problem == "" || e.Line < 0 {
					t.Errorf("%+v", e)
				}
			}
			return
		}
		checkBounds(t, c)
	})
}

// checkBounds holds a config against what its users rely on.
func checkBounds(t *testing.T, c *Config) {
	t.Helper()
	if len(c.Models) == 0 || c.Limits.MaxMessageBytes <= 0 || c.Store.Path == "" || c.Shutdown < 0 {
		t.Errorf("%+v", c)
	}
	names := map[string]bool{}
	for _, m := range c.Models {
		if m.Name == "" || names[m.Name] || m.Champion.Spec.Target == "" || m.Champion.Spec.Model == "" {
			t.Errorf("model %+v", m)
		}
		names[m.Name] = true
		if err := m.Plan.Validate(); err != nil {
			t.Errorf("plan %v: %v", m.Plan, err)
		}
		checkRules(t, m)
		if b := m.Breaker; !(b.FailureRatio > 0 && b.FailureRatio <= 1) || b.ConsecutiveFailures == 0 || b.Window <= 0 || b.OpenFor <= 0 {
			t.Errorf("breaker %+v", b)
		}
		for _, r := range m.Compare {
			if !(r.ATol >= 0 && r.RTol >= 0) || math.IsInf(r.ATol+r.RTol, 0) || r.Output == "" || r.Kind == "" {
				t.Errorf("rule %+v", r)
			}
		}
		if a := m.Challenger; a != nil {
			if a.Spec == m.Champion.Spec || a.Timeout <= 0 || a.MaxInFlight <= 0 || c.Sink == nil || len(c.Sink.Kafka.Brokers) == 0 {
				t.Errorf("challenger %+v", a)
			}
		}
		if m.Shadow.Sample > rollout.FullWeight || m.Shadow.Timeout < time.Millisecond || m.Shadow.MaxBytes <= 0 {
			t.Errorf("shadow %+v", m.Shadow)
		}
	}
}

// checkRules holds what a rollout is judged by against what the gates' statistics need.
func checkRules(t *testing.T, m Model) {
	t.Helper()
	r := m.Rules
	if !(r.Alpha > 0 && r.Alpha <= 0.2) || r.MaxCohorts < 1 || len(r.Segments) > rollout.MaxSegmentSources {
		t.Errorf("rules %+v", r)
	}
	shares, effective := 0.0, false
	names := map[string]bool{}
	for _, g := range r.Gates {
		if names[g.Name()] || g.Spends() == (g.Share == 0) {
			t.Errorf("gate %+v", g)
		}
		names[g.Name()] = true
		shares += g.Share
		effective = effective || g.Spends()
		checkGate(t, g)
	}
	if effective && math.Abs(shares-1) > 1e-9 {
		t.Errorf("shares of alpha add up to %v", shares)
	}
	for i, s := range m.Plan {
		if s.MaxDuration < 0 || s.MaxDuration > 0 && s.MaxDuration < s.Bake || (s.MaxDuration > 0) != (s.OnMaxDuration != "") {
			t.Errorf("step %+v", s)
		}
		at := rollout.State{Plan: m.Plan, Rules: r}.GatesAt(i)
		for j, g := range at {
			if g.Share != r.Gates[j].Share || g.DryRun != r.Gates[j].DryRun {
				t.Errorf("step %d: the budget moved from %+v to %+v", i, r.Gates[j], g)
			}
			checkGate(t, g)
		}
		for _, g := range s.Gates {
			if !names[g.Name()] {
				t.Errorf("step %d overrides %s, which the model does not have", i, g.Name())
			}
		}
	}
}

func checkGate(t *testing.T, g rollout.Gate) {
	t.Helper()
	ok := g.Horizon >= time.Millisecond && (g.Horizon <= time.Minute || g.Late()) && g.MinRequests > 0 && (g.InShadow || g.InCanary) && g.OnFail != ""
	switch g.Metric {
	case rollout.ErrorRate:
		ok = ok && g.Margin > 0 && (g.Relative || g.Margin < 1)
	case rollout.SlowRate:
		ok = ok && g.Margin > 0 && (g.Relative || g.Margin < 1) && g.SlowerThan == g.Horizon && !g.InShadow
	case rollout.TailLatency:
		ok = ok && g.Margin > 0 && g.Relative && !g.InShadow
	case rollout.Disagreement:
		ok = ok && g.Limit > 0 && g.Limit < 1
	case rollout.ScoreShift:
		ok = ok && g.Output != "" && g.Limit > 0 && g.Range > g.Limit
	case rollout.Drift:
		ok = ok && g.Output != "" && g.Limit > 0
	case rollout.ReportedOutcome:
		ok = ok && g.Outcome != "" && g.Margin > 0 && g.From < g.To && !g.InShadow && g.Horizon <= mostOutcomeHorizon &&
			(!g.Mean || g.Margin < g.To-g.From && !g.Relative) && (g.Mean || g.Fewer && g.Relative || g.Margin < 1)
	default:
		ok = false
	}
	if !ok {
		t.Errorf("gate %+v", g)
	}
}

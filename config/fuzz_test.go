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

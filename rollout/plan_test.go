package rollout

import (
	"strings"
	"testing"
	"time"
)

func TestPlanValidate(t *testing.T) {
	rehearse := Step{Kind: StepShadow, Bake: time.Hour, MinRequests: 1}
	weight := Step{Kind: StepSetWeight, Weight: 500}
	rest := Step{Kind: StepPause, Bake: time.Hour, MinRequests: 1}
	for _, c := range []struct {
		plan Plan
		says string // empty: valid
	}{
		{nil, ""},
		{usual, ""},
		{Plan{rehearse, {Kind: StepPause, Manual: true}, weight, rest}, ""},
		{Plan{weight}, "step 0: setWeight without a pause"},
		{Plan{rehearse, weight, weight, rest}, "step 1: setWeight without a pause"},
		{Plan{weight, rest, rehearse}, "step 2: shadow after setWeight"},
		{Plan{{Kind: StepSetWeight}, rest}, "step 0: setWeight 0%"},
		{Plan{{Kind: StepSetWeight, Weight: FullWeight + 1}, rest}, "want more than 0 and at most 100"},
		{Plan{rehearse, {Kind: StepPause, Bake: -1, MinRequests: 1}}, "step 1: duration -1ns"},
		{Plan{{Kind: StepShadow, Bake: time.Hour}}, "minRequests 0: want at least 1"},
		{Plan{{}}, "unknown kind 0"},
	} {
		err := c.plan.Validate()
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%v: %v, want %q", c.plan, err, c.says)
		}
	}
}

func TestWeights(t *testing.T) {
	for percent, want := range map[float64]Weight{0: 0, 0.01: 1, 5: 500, 12.5: 1250, 0.29: 29, 99.99: 9999, 100: FullWeight} {
		if got, err := WeightFromPercent(percent); err != nil || got != want || got.Percent() != percent {
			t.Errorf("%v%%: %d, %v", percent, got, err)
		}
	}
	nan := 0.0
	nan /= nan
	for _, percent := range []float64{-1, 100.01, 0.001, 12.345, nan} {
		if got, err := WeightFromPercent(percent); err == nil {
			t.Errorf("%v%% became %s", percent, got)
		}
	}
	if got := Weight(1250).String(); got != "12.5%" {
		t.Errorf("%s", got)
	}
}

func TestModesAreTheirNames(t *testing.T) {
	for m := ModeChampion; m <= ModeRolledBack; m++ {
		if back, err := ParseMode(m.String()); err != nil || back != m {
			t.Errorf("%s: %s, %v", m, back, err)
		}
	}
	for _, s := range []string{"", "unknown", "Shadow"} {
		if m, err := ParseMode(s); err == nil || !strings.Contains(err.Error(), "champion, shadow, canary, promoted, rolled_back") {
			t.Errorf("%q: %s, %v", s, m, err)
		}
	}
}

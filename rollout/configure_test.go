package rollout

import (
	"reflect"
	"testing"
	"time"
)

func TestConfigure(t *testing.T) {
	other := Plan{{Kind: StepShadow, MinRequests: 1}}
	with := func(champion, challenger Spec) Configured {
		return Configured{Model: "fraud", Champion: champion, Challenger: challenger, Plan: usual}
	}
	var none Spec
	bare, _ := State{}.Configure(with(specA, none), start)
	shadow := begun(t, usual)
	canary := play(t, shadow, advance)
	back := play(t, canary, rollback)
	moved, _ := back.Configure(with(specC, none), start)
	promoted := play(t, shadow, full)
	off := play(t, canary, setMode(ModeChampion, 0))

	for _, c := range []struct {
		name       string
		state      State
		file       Configured
		changed    bool
		mode       Mode
		champion   Spec
		challenger Spec
		anew       bool // a new rollout begins
	}{
		{"a new model", State{}, with(specA, specB), true, ModeShadow, specA, specB, true},
		{"a new model without a challenger", State{}, with(specA, none), true, ModeChampion, specA, none, false},
		{"the same file", canary, with(specA, specB), false, ModeCanary, specA, specB, false},
		{"a first challenger", bare, with(specA, specB), true, ModeShadow, specA, specB, true},
		{"another champion alone", bare, with(specC, none), true, ModeChampion, specC, none, false},
		{"another challenger", canary, with(specA, specC), true, ModeShadow, specA, specC, true},
		{"another challenger after set mode", off, with(specA, specC), true, ModeShadow, specA, specC, true},
		{"no more challenger", canary, with(specA, none), true, ModeChampion, specA, none, false},
		{"another champion during a rollout", canary, with(specC, specB), true, ModeShadow, specC, specB, true},
		{"another plan alone", canary, Configured{Model: "fraud", Champion: specA, Challenger: specB, Plan: other}, false, ModeCanary, specA, specB, false},
		{"the challenger made champion by the file", canary, with(specB, specB), true, ModeChampion, specB, none, false},

		{"rolled back, the same file", back, with(specA, specB), false, ModeRolledBack, specA, specB, false},
		{"rolled back, dropped", back, with(specA, none), false, ModeRolledBack, specA, specB, false},
		{"rolled back, another challenger", back, with(specA, specC), true, ModeShadow, specA, specC, true},
		{"rolled back, another champion", back, with(specC, specB), true, ModeRolledBack, specC, specB, false},
		{"rolled back, another champion, dropped", back, with(specC, none), true, ModeRolledBack, specC, specB, false},

		{"rolled back, made champion by the file", back, with(specB, none), false, ModeRolledBack, specA, specB, false},
		{"rolled back, made champion and still named", back, with(specB, specB), false, ModeRolledBack, specA, specB, false},
		{"rolled back, another champion, then made champion", moved, with(specB, none), false, ModeRolledBack, specC, specB, false},
		{"rolled back, made champion against another challenger", back, with(specB, specC), true, ModeShadow, specB, specC, true},

		{"promoted, the same file", promoted, with(specA, specB), false, ModePromoted, specA, specB, false},
		{"promoted, dropped", promoted, with(specA, none), false, ModePromoted, specA, specB, false},
		{"promoted, another challenger against the old champion", promoted, with(specA, specC), false, ModePromoted, specA, specB, false},
		{"promoted, finished", promoted, with(specB, none), true, ModeChampion, specB, none, false},
		{"promoted, finished, still named", promoted, with(specB, specB), true, ModeChampion, specB, none, false},
		{"promoted, finished, the next challenger", promoted, with(specB, specC), true, ModeShadow, specB, specC, true},
	} {
		next, changed := c.state.Configure(c.file, start.Add(time.Hour))
		if changed != c.changed || next.Mode != c.mode || next.Champion != c.champion || next.Challenger != c.challenger {
			t.Errorf("%s: changed %v to %s, %s against %s", c.name, changed, next.Mode, next.Challenger, next.Champion)
		}
		if anew := next.Rollout != c.state.Rollout; anew != c.anew {
			t.Errorf("%s: begins anew: %v, want %v", c.name, anew, c.anew)
		}
		if !changed && !reflect.DeepEqual(next, c.state) {
			t.Errorf("%s: unchanged and yet different", c.name)
		}
		if changed && (next.Revision != c.state.Revision+1 || next.Changes[0].Actor != "config" || next.Changes[0].Reason == "") {
			t.Errorf("%s: revision %d after %d, %+v", c.name, next.Revision, c.state.Revision, next.Changes[0])
		}
		if again, changed := next.Configure(c.file, start); changed {
			t.Errorf("%s: the same file again changed it to %s", c.name, where(again))
		}
	}
}

// TestNoFileBringsARolledBackChallengerBack walks through files that name two specs only,
// in every order: without a retry the rolled-back one never answers.
func TestNoFileBringsARolledBackChallengerBack(t *testing.T) {
	var files []Configured
	for _, champion := range []Spec{specA, specB} {
		for _, challenger := range []Spec{{}, specB} {
			files = append(files, Configured{Model: "fraud", Champion: champion, Challenger: challenger, Plan: usual})
		}
	}
	back := play(t, begun(t, usual), advance, rollback)
	var walk func(s State, left int)
	walk = func(s State, left int) {
		if s.Answering() == specB || s.Recorded() {
			t.Fatalf("the rolled-back challenger is back: %s, %s answers", where(s), s.Answering())
		}
		for _, f := range files {
			if next, _ := s.Configure(f, start); left > 0 {
				walk(next, left-1)
			}
		}
	}
	walk(back, 3)
}

func TestChampionRolledBack(t *testing.T) {
	back := play(t, begun(t, usual), rollback)
	for _, c := range []struct {
		state State
		file  Configured
		want  bool
	}{
		{back, Configured{Champion: specB}, true},
		{back, Configured{Champion: specB, Challenger: specB}, true},
		{back, Configured{Champion: specB, Challenger: specC}, false},
		{back, Configured{Champion: specA, Challenger: specB}, false},
		{begun(t, usual), Configured{Champion: specB}, false},
		{State{Mode: ModeRolledBack}, Configured{}, false},
	} {
		if got := c.state.ChampionRolledBack(c.file); got != c.want {
			t.Errorf("%s, the file %s against %s: %v", where(c.state), c.file.Challenger, c.file.Champion, got)
		}
	}
}

func TestUnfinished(t *testing.T) {
	promoted := play(t, begun(t, usual), full)
	if !promoted.Unfinished(Configured{Champion: specA}) || promoted.Unfinished(Configured{Champion: specB}) {
		t.Error("a promotion is finished when the file's champion is the promoted spec")
	}
	if begun(t, usual).Unfinished(Configured{Champion: specA}) {
		t.Error("a rollout in shadow is no unfinished promotion")
	}
	if promoted.Answering() != specB || begun(t, usual).Answering() != specA {
		t.Error("who answers is wrong")
	}
}

package rollout

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	start = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)
	specA = Spec{Target: "dns:///fraud-v1:8081", Model: "fraud", Version: "1"}
	specB = Spec{Target: "dns:///fraud-v2:8081", Model: "fraud", Version: "2"}
	specC = Spec{Target: "dns:///fraud-v3:8081", Model: "fraud", Version: "3"}
	// usual rests at 0 (shadow), 2 (5 %), 3 (5 %, until resumed), 5 (25 %).
	usual = Plan{
		{Kind: StepShadow, Bake: time.Hour, MinRequests: 10},
		{Kind: StepSetWeight, Weight: 500},
		{Kind: StepPause, Bake: time.Minute, MinRequests: 10},
		{Kind: StepPause, Manual: true},
		{Kind: StepSetWeight, Weight: 2500},
		{Kind: StepPause, Bake: time.Minute, MinRequests: 10},
	}
)

func configured(plan Plan) Configured {
	return Configured{Model: "fraud", Champion: specA, Challenger: specB, Plan: plan}
}

// begun is a rollout at the first step of plan.
func begun(t *testing.T, plan Plan) State {
	t.Helper()
	s, changed := State{}.Configure(configured(plan), start)
	if !changed {
		t.Fatal("nothing began")
	}
	return s
}

// play applies events and fails the test at a refusal.
func play(t *testing.T, s State, events ...Event) State {
	t.Helper()
	for _, e := range events {
		next, err := s.Apply(e, start)
		if err != nil {
			t.Fatalf("%s in %s: %v", e.Kind, where(s), err)
		}
		s = next
	}
	return s
}

// where describes a state in one line: mode, weight, step, and what is special.
func where(s State) string {
	out := fmt.Sprintf("%s %s step %d", s.Mode, s.Weight, s.Step)
	if s.Paused {
		out += " paused"
	}
	if s.Override {
		out += " override"
	}
	return out
}

var (
	advance  = Event{Kind: EventAdvance}
	promote  = Event{Kind: EventPromote}
	full     = Event{Kind: EventPromote, Full: true}
	rollback = Event{Kind: EventRollback}
	pause    = Event{Kind: EventPause}
	resume   = Event{Kind: EventResume}
	retry    = Event{Kind: EventRetry, Plan: usual}
)

func setMode(m Mode, w Weight) Event { return Event{Kind: EventSetMode, Mode: m, Weight: w} }

func TestTransitions(t *testing.T) {
	fromCanary := Plan{usual[1], usual[2], usual[4], usual[5]} // rests at 5 % and 25 %, never in shadow
	for _, c := range []struct {
		name   string
		plan   Plan
		events []Event
		want   string
	}{
		{"the plan's way", usual, []Event{advance}, "canary 5% step 2"},
		{"to a step until resumed", usual, []Event{advance, advance}, "canary 5% step 3"},
		{"from it by resume", usual, []Event{advance, advance, resume}, "canary 25% step 5"},
		{"from it by promote", usual, []Event{advance, advance, promote}, "canary 25% step 5"},
		{"to the end", usual, []Event{advance, advance, resume, advance}, "promoted 100% step 6"},
		{"promote goes one step", usual, []Event{promote}, "canary 5% step 2"},
		{"promote full goes to the end", usual, []Event{full}, "promoted 100% step 6"},
		{"promote full ends a pause", usual, []Event{pause, full}, "promoted 100% step 6"},
		{"promote does not end a pause", usual, []Event{pause, promote}, "canary 5% step 2 paused"},
		{"pause changes no traffic", usual, []Event{advance, pause}, "canary 5% step 2 paused"},
		{"resume stays at the step", usual, []Event{advance, pause, resume}, "canary 5% step 2"},
		{"resume ends a pause before a step until resumed", usual, []Event{advance, advance, pause, resume}, "canary 5% step 3"},

		{"set mode acts and pauses", usual, []Event{setMode(ModeCanary, 1200)}, "canary 12% step 0 paused override"},
		{"set mode down", usual, []Event{advance, setMode(ModeShadow, 700)}, "shadow 0% step 2 paused override"},
		{"set mode off", usual, []Event{advance, setMode(ModeChampion, 0)}, "champion 0% step 2 paused override"},
		{"resume from between weights", usual, []Event{setMode(ModeCanary, 1200), resume}, "canary 5% step 3"},
		{"resume from a weight of the plan", usual, []Event{setMode(ModeCanary, 2500), resume}, "canary 25% step 5"},
		{"resume from above the plan", usual, []Event{setMode(ModeCanary, 9000), resume}, "canary 25% step 5"},
		{"resume from below the first weight", usual, []Event{setMode(ModeCanary, 100), resume}, "shadow 0% step 0"},
		{"resume from shadow", usual, []Event{advance, setMode(ModeShadow, 0), resume}, "shadow 0% step 0"},
		{"resume from champion", usual, []Event{advance, setMode(ModeChampion, 0), resume}, "shadow 0% step 0"},
		{"resume where all of the plan is above", fromCanary, []Event{setMode(ModeShadow, 0), resume}, "canary 5% step 1"},
		{"promote from between weights", usual, []Event{setMode(ModeCanary, 1200), promote}, "canary 25% step 5 paused"},
		{"promote from above the plan", usual, []Event{setMode(ModeCanary, 9000), promote}, "promoted 100% step 6"},
		{"promote where all of the plan is above", fromCanary, []Event{setMode(ModeShadow, 0), promote}, "canary 5% step 1 paused"},

		{"rollback from shadow", usual, []Event{rollback}, "rolled_back 0% step 0"},
		{"rollback from canary", usual, []Event{advance, rollback}, "rolled_back 0% step 2"},
		{"rollback from a pause", usual, []Event{advance, pause, rollback}, "rolled_back 0% step 2"},
		{"rollback from set mode", usual, []Event{setMode(ModeCanary, 5000), rollback}, "rolled_back 0% step 0"},
		{"rollback from champion", usual, []Event{setMode(ModeChampion, 0), rollback}, "rolled_back 0% step 0"},
		{"rollback from promoted", usual, []Event{full, rollback}, "rolled_back 0% step 6"},
		{"retry begins anew", usual, []Event{advance, rollback, retry}, "shadow 0% step 0"},

		{"an empty plan rests in shadow", nil, nil, "shadow 0% step 0"},
		{"an empty plan is promoted by hand", nil, []Event{promote}, "promoted 100% step 0"},
		{"an empty plan and set mode", nil, []Event{setMode(ModeCanary, 500), resume}, "shadow 0% step 0"},
	} {
		if got := where(play(t, begun(t, c.plan), c.events...)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatBelongsToRolloutAndStep(t *testing.T) {
	s := begun(t, usual)
	if s.Revision != 1 || s.Rollout != 1 || s.Entered != 1 {
		t.Fatalf("begun at %d, rollout %d, entered %d", s.Revision, s.Rollout, s.Entered)
	}
	s = play(t, s, advance)
	if s.Revision != 2 || s.Rollout != 1 || s.Entered != 2 {
		t.Errorf("a step: revision %d, rollout %d, entered %d", s.Revision, s.Rollout, s.Entered)
	}
	s = play(t, s, pause, resume)
	if s.Revision != 4 || s.Entered != 2 {
		t.Errorf("pause and resume: revision %d, entered %d: bake and counts go on", s.Revision, s.Entered)
	}
	s = play(t, s, setMode(ModeCanary, 500), resume)
	if s.Revision != 6 || s.Entered != 6 {
		t.Errorf("resume from set mode: revision %d, entered %d: bake and counts begin anew", s.Revision, s.Entered)
	}
	s = play(t, s, rollback, retry)
	if s.Revision != 8 || s.Rollout != 8 || s.Entered != 8 {
		t.Errorf("retry: revision %d, rollout %d, entered %d", s.Revision, s.Rollout, s.Entered)
	}
}

func TestRefusalsNameWhatIsAllowed(t *testing.T) {
	s := begun(t, usual)
	none, _ := State{}.Configure(Configured{Model: "fraud", Champion: specA}, start)
	for _, c := range []struct {
		name  string
		state State
		event Event
		says  string
	}{
		{"retry in shadow", s, retry, "retry in mode shadow of model fraud; allowed: set_mode, promote, rollback, pause"},
		{"resume of what is not paused", s, resume, "allowed: set_mode, promote, rollback, pause"},
		{"pause twice", play(t, s, pause), pause, "pause in mode shadow (paused) of model fraud; allowed: set_mode, promote, rollback, resume"},
		{"advance of a pause", play(t, s, pause), advance, "allowed: set_mode"},
		{"advance of a step until resumed", play(t, s, advance, advance), advance, "allowed: set_mode, promote, rollback, pause, resume"},
		{"advance beside the plan", play(t, s, setMode(ModeCanary, 1)), advance, "allowed"},
		{"set mode of a promoted one", play(t, s, full), setMode(ModeShadow, 0), "allowed: rollback"},
		{"anything but retry of a rolled-back one", play(t, s, rollback), setMode(ModeShadow, 0), "in mode rolled_back of model fraud; allowed: retry"},
		{"rollback twice", play(t, s, rollback), rollback, "allowed: retry"},
		{"promote off stage", play(t, s, setMode(ModeChampion, 0)), promote, "allowed: set_mode, resume, rollback"},
		{"promote by set mode", s, setMode(ModePromoted, 0), "mode promoted can't be set; set champion, shadow or canary"},
		{"rollback by set mode", s, setMode(ModeRolledBack, 0), "mode rolled_back can't be set"},
		{"too much weight", s, setMode(ModeCanary, FullWeight+1), "weight 100.01% is over 100%"},
		{"without a challenger", none, promote, "model fraud has no challenger"},
		{"the file's event", s, Event{Kind: EventStart}, "allowed: set_mode"},
	} {
		after, err := c.state.Apply(c.event, start)
		if !errors.Is(err, ErrNotAllowed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if !reflect.DeepEqual(after, c.state) {
			t.Errorf("%s: the refusal changed the state", c.name)
		}
	}
}

func TestHistoryIsBoundedAndNewestFirst(t *testing.T) {
	s := begun(t, usual)
	for range MaxChanges {
		s = play(t, s, Event{Kind: EventPause, Actor: "ci", Reason: "lunch"}, resume)
	}
	if len(s.Changes) != MaxChanges {
		t.Fatalf("%d changes, want %d", len(s.Changes), MaxChanges)
	}
	for i, c := range s.Changes {
		if c.Revision != s.Revision-uint64(i) {
			t.Fatalf("change %d is of revision %d, the state of %d", i, c.Revision, s.Revision)
		}
	}
	if c := s.Changes[1]; c.Kind != EventPause || c.Actor != "ci" || c.Reason != "lunch" || c.Mode != ModeShadow || !c.Time.Equal(start) {
		t.Errorf("%+v", c)
	}
}

// TestNoSequenceOfEventsBreaksTheRules plays random events and checks what must always hold.
func TestNoSequenceOfEventsBreaksTheRules(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	kinds := []EventKind{EventAdvance, EventSetMode, EventPromote, EventRollback, EventPause, EventResume, EventRetry}
	for _, plan := range []Plan{usual, nil, usual[1:3], {usual[0]}} {
		s := begun(t, plan)
		for range 5000 {
			e := Event{Kind: kinds[random.IntN(len(kinds))], Full: random.IntN(8) == 0, Plan: plan,
				Mode: Mode(random.IntN(7)), Weight: Weight(random.IntN(11_000))}
			allowed := slices.Contains(s.Allowed(), e.Kind)
			next, err := s.Apply(e, start)
			if err != nil {
				if allowed && e.Kind != EventSetMode {
					t.Fatalf("%s is allowed in %s and refused: %v", e.Kind, where(s), err)
				}
				continue
			}
			checkStep(t, s, next, e)
			s = next
		}
	}
}

func checkStep(t *testing.T, s, next State, e Event) {
	t.Helper()
	fail := func(what string) { t.Fatalf("%s in %s led to %s: %s", e.Kind, where(s), where(next), what) }
	switch {
	case next.Revision != s.Revision+1:
		fail("the revision does not rise by one")
	case next.Entered > next.Revision || next.Rollout > next.Entered:
		fail("rollout, entered and revision are out of order")
	case s.Mode == ModeRolledBack && e.Kind != EventRetry:
		fail("rolled back is not absorbing")
	case e.Kind == EventRollback && next.Mode != ModeRolledBack:
		fail("a rollback did not roll back")
	case next.Mode != ModeCanary && next.Mode != ModePromoted && next.Weight != 0:
		fail("weight outside canary")
	case next.Mode == ModePromoted && next.Weight != FullWeight:
		fail("promoted below 100 %")
	case (e.Kind == EventRetry) != (next.Rollout != s.Rollout):
		fail("a rollout begins by retry only")
	case (next.Mode != s.Mode || next.Weight != s.Weight) && next.Entered != next.Revision && next.Mode != ModeRolledBack:
		fail("the challenger's part changed without a new step")
	case len(next.Changes) > MaxChanges || next.Changes[0].Revision != next.Revision:
		fail("the history is wrong")
	}
	if step, ok := next.Current(); ok && step.Kind == StepSetWeight {
		fail("it rests at a setWeight")
	}
	raw, err := json.Marshal(next)
	var back State
	if err != nil || json.Unmarshal(raw, &back) != nil || !reflect.DeepEqual(back, next) {
		fail("it does not survive JSON: " + string(raw))
	}
}

func TestStatesShareNothingThatChanges(t *testing.T) {
	a := begun(t, usual)
	b := play(t, a, pause)
	c := play(t, a, promote)
	if a.Changes[0].Kind != EventStart || b.Changes[0].Kind != EventPause || c.Changes[0].Kind != EventPromote {
		t.Error("two states of one origin share their history")
	}
	plan := slices.Clone(usual)
	d := play(t, a, rollback, Event{Kind: EventRetry, Plan: plan})
	plan[0].MinRequests = 1
	if d.Plan[0].MinRequests != 10 {
		t.Error("the caller's plan is the state's")
	}
}

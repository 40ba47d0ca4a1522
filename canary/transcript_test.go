package canary

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// TestTranscripts plays testdata/transcripts: evidence goes in, and what the rollout does
// comes out. A line is a command, or what was seen behind one, after "> ":
//
//	shadow PAIRS [failed N] [disagree N] [region R]
//	canary REQUESTS [champion-failed N] [challenger-failed N] [disagree N] [region R]
//	wait DURATION
//	set-mode canary WEIGHT | pause | resume | promote | retry
//	restart
//	show        the gates' verdicts, and what the rollout waits for
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = transcribe(t, string(want)) })
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("played anew (-update writes it):\n%s", got)
			}
		})
	}
}

// actor plays one transcript.
type actor struct {
	*house
	store *memory
	seen  uint64 // the last revision told of
	out   strings.Builder
}

func transcribe(t *testing.T, script string) string {
	a := &actor{store: newMemory()}
	a.house = newHouse(t, a.store, transcribed())
	for line := range strings.Lines(script) {
		if line = strings.TrimRight(line, "\n"); strings.HasPrefix(line, ">") {
			continue
		}
		a.out.WriteString(line + "\n")
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			a.do(words)
			a.tell()
		}
	}
	return a.out.String()
}

// transcribed is the model of all transcripts.
func transcribed() Settings {
	s := judged(errorGate(0.05), disagreementGate())
	for i := range s.Rules.Gates {
		s.Rules.Gates[i].Share = 0.5
	}
	s.Plan = rollout.Plan{
		{Kind: rollout.StepShadow, Bake: time.Minute, MinRequests: 100, MaxDuration: 2 * time.Hour, OnMaxDuration: rollout.RollBack},
		{Kind: rollout.StepSetWeight, Weight: 1000},
		{Kind: rollout.StepPause, Bake: time.Minute, MinRequests: 100},
		{Kind: rollout.StepSetWeight, Weight: 5000},
		{Kind: rollout.StepPause, Bake: time.Minute, MinRequests: 100, MaxDuration: time.Hour, OnMaxDuration: rollout.Hold},
	}
	return s
}

func (a *actor) do(words []string) {
	switch words[0] {
	case "shadow", "canary":
		a.crowd(words)
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			a.t.Fatal(err)
		}
		after(d)
	case "set-mode":
		a.must(toCanary(rollout.Weight(100 * number(a.t, words[2]))))
	case "pause", "resume", "promote", "retry":
		a.must(rollout.Event{Kind: rollout.EventKind(words[0])})
	case "restart":
		a.stopRun()
		if err := a.Close(a.t.Context()); err != nil {
			a.t.Fatal(err)
		}
		a.house = newHouse(a.t, a.store, transcribed())
	case "show":
		a.show()
	default:
		a.t.Fatalf("unknown command %q", words)
	}
}

func number(t *testing.T, word string) (n int) {
	if _, err := fmt.Sscan(word, &n); err != nil {
		t.Fatalf("%q: %v", word, err)
	}
	return n
}

// crowd lets requests through: in canary each arm's share of them.
func (a *actor) crowd(words []string) {
	n := number(a.t, words[1])
	c := crowd{}
	if words[0] == "shadow" {
		c.pairs = n
	} else {
		c.challenger = n * int(a.live().State.Weight) / int(rollout.FullWeight)
		c.champion, c.mirrored = n-c.challenger, true
	}
	for i := 2; i+1 < len(words); i += 2 {
		switch words[i] {
		case "failed":
			c.pairsBad = number(a.t, words[i+1])
		case "disagree":
			c.disagreeing = number(a.t, words[i+1])
		case "champion-failed":
			c.championBad = number(a.t, words[i+1])
		case "challenger-failed":
			c.challengerBad = number(a.t, words[i+1])
		case "region":
			c.region = words[i+1]
		default:
			a.t.Fatalf("unknown word %q", words[i])
		}
	}
	a.play(c)
}

// tell writes what happened since the last time.
func (a *actor) tell() {
	changes := a.view().Changes
	for i := len(changes) - 1; i >= 0; i-- {
		if c := changes[i]; c.Revision > a.seen {
			a.seen = c.Revision
			fmt.Fprintf(&a.out, "> %s by %s: %s", c.Kind, c.Actor, c.Mode)
			if c.Mode == rollout.ModeCanary {
				fmt.Fprintf(&a.out, " %s", c.Weight)
			}
			fmt.Fprintf(&a.out, ": %s\n", c.Reason)
		}
	}
}

func (a *actor) show() {
	v := a.view()
	for _, r := range v.Figures.Judgement.Gates {
		fmt.Fprintf(&a.out, "> %s: %s: %s\n", gateName(r), r.Verdict, r.Why)
	}
	fmt.Fprintf(&a.out, "> waits for: %s\n", v.WaitingFor)
}

package gate

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The sentences are read by people at night: they stand in a file, to be read by people.
func TestSentences(t *testing.T) {
	var text strings.Builder
	say := func(title string, s rollout.State, c Checkpoint) {
		fmt.Fprintf(&text, "%s, %s\n", title, s.Mode)
		for _, r := range c.Judge(s, true).Gates {
			name := r.Gate.Name()
			if r.Segment != "" {
				name += " " + r.Segment
			}
			fmt.Fprintf(&text, "  %s: %s: %s\n", name, r.Verdict, r.Why)
		}
	}
	after := func(s rollout.State, cells map[Series]Cell) (c Checkpoint) {
		c.Absorb(s, many(s, cells), time.Minute)
		return c
	}
	live := func(bad int64) Cell {
		return Cell{ChampionLive: 90_000, ChampionBad: 45, ChallengerLive: 10_000, ChallengerBad: bad}
	}
	for _, mode := range []rollout.Mode{rollout.ModeShadow, rollout.ModeCanary} {
		s := contest(mode, everyGate()...)
		say("nothing", s, Checkpoint{})
		for _, x := range []struct {
			title       string
			live, pairs Cell
		}{
			{"a little", Cell{ChampionLive: 45, ChallengerLive: 5}, compared(50, 1, 0, 0, 0)},
			{"as good", live(5), compared(100_000, 20, 20, 10, 0)},
			{"worse", live(900), compared(10_000, 900, 20, 10, 0.2)},
			{"a toss-up", live(12), compared(2_000, 38, 30, 1, 0.05)},
		} {
			cells := map[Series]Cell{}
			for i, g := range everyGate() {
				cells[Series{Gate: i}] = x.live
				if g.Paired(mode) {
					cells[Series{Gate: i}] = x.pairs
				}
			}
			say(x.title, s, after(s, cells))
		}
	}
	s := contest(rollout.ModeCanary, everyGate()[0])
	s.Rules.Segments, s.Rules.MaxCohorts = []string{"parameter:region"}, 4
	say("cohorts", s, after(s, map[Series]Cell{{}: live(12), {0, "region=eu"}: live(900), {0, "region=us"}: {ChampionLive: 9, ChallengerLive: 1}}))

	whole := s
	whole.Weight = rollout.FullWeight
	say("all requests", whole, Checkpoint{})

	full := after(s, map[Series]Cell{{}: live(5)})
	full.Bad = []Keys{{size: keyBits}}
	say("too many bad keys", s, full)

	broken := after(s, map[Series]Cell{{}: live(900)})
	broken.Void = true
	say("a broken split", s, broken)
	fmt.Fprintf(&text, "  %s\n", broken.split().Why)

	earlier := after(s, map[Series]Cell{{}: live(900)})
	s.Entered = 2
	say("worse before this step", s, earlier)

	s.Rules.Segments = nil
	s.Rules.Gates = []rollout.Gate{everyGate()[0], everyGate()[1]}
	s.Rules.Gates[0].Share, s.Rules.Gates[1].Share = 0.5, 0.5
	say("worse by two gates together", s, together(s))

	canaryOnly := contest(rollout.ModeShadow, everyGate()[2])
	canaryOnly.Rules.Gates[0].InShadow = false
	say("not judged", canaryOnly, Checkpoint{})

	unknown := contest(rollout.ModeCanary, everyGate()[2])
	say("no p99 yet", unknown, Checkpoint{})
	golden(t, "testdata/sentences.golden", text.String())
}

// compared returns n pairs, whose scores moved by shift.
func compared(n, challengerOnly, championOnly, both int64, shift float64) Cell {
	c := Cell{Pairs: n, ChallengerOnly: challengerOnly, ChampionOnly: championOnly, Both: both}
	for i := range n {
		score := float64(i%100) / 100
		c.Shift.Observe(shift+0.01*float64(i%7-3), 1)
		c.Scores.Observe(score, score+shift)
	}
	return c
}

// together returns evidence of two gates of which neither is enough alone.
func together(s rollout.State) (c Checkpoint) {
	c.Absorb(s, many(s, map[Series]Cell{{0, ""}: {ChampionLive: 900, ChallengerLive: 100, ChampionBad: 2, ChallengerBad: 4}}), 0)
	little := math.Log(1.2 / s.Rules.Alpha) // and alone 2/α would be enough
	c.Series = map[Series]*Process{{0, ""}: {Mixture: Mixture{LogE: little + 0.1}}, {1, ""}: {Mixture: Mixture{LogE: little}}}
	return c
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; with -update it becomes\n%s", file, got)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for got, want := range map[string]string{
		Number(0): "0", Number(999): "999", Number(-1000): "-1,000", Number(1234567): "1,234,567",
		Span(0): "0s", Span(350 * time.Millisecond): "350ms", Span(12 * time.Minute): "12m", Span(time.Hour + 5*time.Minute): "1h5m",
		Span(2 * time.Hour): "2h", Span(90*time.Second + time.Millisecond): "1m30s",
		percent(0.02): "2%", percent(0.000123): "0.0123%", percent(1): "100%", percent(10): "1000%",
		figure(0): "0", figure(-1e-9): "-1e-09", figure(0.00012345): "0.000123", figure(12345): "12345", figure(1e300): "1e+300",
		portion(0, 0): "", portion(1, 3): " (33.3%)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

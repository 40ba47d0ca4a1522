package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// shownInputs bounds the inputs listed against each base; shifted ones are listed all.
const shownInputs = 8

// inputShifts lists how far the watched inputs lie from each base, the farthest first.
func inputShifts(b *strings.Builder, all []*adminv1.InputShift) {
	for _, base := range []struct {
		against rollout.Base
		title   string
	}{
		{rollout.AgainstChampionByKey, "Inputs, challenger against champion, the first request of each routing key at this step: they differ by chance, or the split is broken"},
		{rollout.AgainstChampion, "Inputs, challenger against champion, all requests at this step: they differ where keys that come often go with an input"},
		{rollout.AgainstShadow, "Inputs, canary (both arms) against shadow: what differs came with the time"},
	} {
		var of []*adminv1.InputShift
		for _, s := range all {
			if s.Against == string(base.against) {
				of = append(of, s)
			}
		}
		if len(of) > 0 {
			fmt.Fprintf(b, "\n%s\n", base.title)
			inputLines(b, of)
		}
	}
}

func inputLines(b *strings.Builder, all []*adminv1.InputShift) {
	slices.SortStableFunc(all, func(x, y *adminv1.InputShift) int { return cmp.Compare(overChance(y), overChance(x)) })
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  FEATURE\tPSI\tBY CHANCE\tREQUESTS\tAGAINST\t")
	left := 0
	for i, s := range all {
		if i >= shownInputs && !s.Shifted {
			left++
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\n", oneLine(s.Feature), digits(s.Psi), digits(s.PsiExpected), count(s.Requests), count(s.BaseRequests), inputVerdict(s))
	}
	_ = t.Flush() // a strings.Builder takes all
	if left > 0 {
		fmt.Fprintf(b, "  … and %d more, nearer to chance\n", left)
	}
}

// overChance is how many times what chance makes of it an index is; little while there is
// too little to say.
func overChance(s *adminv1.InputShift) float64 {
	if !s.Enough || s.PsiExpected == 0 {
		return 0
	}
	return s.Psi / s.PsiExpected
}

func inputVerdict(s *adminv1.InputShift) string {
	said := "alike"
	switch {
	case s.Shifted:
		said = "SHIFTED"
	case !s.Enough:
		said = "too few to say"
	}
	if s.Hold && (s.Shifted || !s.Enough) {
		said += ", and the step waits"
	}
	return said
}

// inputsInWords says what is watched.
func inputsInWords(in rollout.WatchedInput) string {
	what := fmt.Sprintf("the first %d elements", in.Features)
	if in.Features == 1 {
		what = "the first element"
	}
	then := "warn"
	if in.Hold {
		then = "hold the step"
	}
	return fmt.Sprintf("%s: %s, challenger against champion and canary against shadow; arms that differ %s", in.Name, what, then)
}

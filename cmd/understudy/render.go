package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// modeName returns the mode as config and metrics write it.
func modeName(m adminv1.Mode) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "MODE_"))
}

// standing says mode, weight and pause in a few words.
func standing(r *adminv1.Rollout) string {
	s := inMode(r.GetMode(), r.GetWeightPercent())
	if r.GetPaused() {
		s += ", paused"
	}
	return s
}

func inMode(m adminv1.Mode, weight float64) string {
	if m == adminv1.Mode_MODE_CANARY {
		return modeName(m) + " " + percent(weight)
	}
	return modeName(m)
}

// specName writes an arm as people say it.
func specName(s *adminv1.ArmSpec) string {
	name := s.GetModel()
	if s.GetVersion() != "" {
		name += ":" + s.GetVersion()
	}
	return name + " at " + s.GetTarget()
}

// stepName says what the step is, such as "pause 30m0s, 20,000 requests".
func stepName(s *adminv1.Step) string {
	switch k := s.GetStep().(type) {
	case *adminv1.Step_SetWeight:
		return "setWeight " + percent(k.SetWeight)
	case *adminv1.Step_Shadow:
		return minimum("shadow", span(k.Shadow.Bake.AsDuration()), k.Shadow.MinRequests, "pairs") + bounds(k.Shadow)
	case *adminv1.Step_Pause:
		if k.Pause.UntilResumed {
			return "pause until resumed" + bounds(k.Pause)
		}
		return minimum("pause", span(k.Pause.Duration.AsDuration()), k.Pause.MinRequests, "requests") + bounds(k.Pause)
	}
	return "step"
}

func minimum(name, bake string, n int64, unit string) string {
	if bake != "0s" {
		name += " " + bake + ","
	}
	return name + " " + count(n) + " " + unit
}

// bounded is what steps of both kinds have.
type bounded interface {
	GetMaxDuration() *durationpb.Duration
	GetOnMaxDuration() adminv1.Reaction
	GetGates() []string
}

// bounds says when the step should be over, and which gates are special there.
func bounds(s bounded) string {
	text := ""
	if most := s.GetMaxDuration().AsDuration(); most > 0 {
		then := "held"
		if s.GetOnMaxDuration() == adminv1.Reaction_REACTION_ROLLBACK {
			then = "rolled back"
		}
		text = ", " + then + " after " + span(most)
	}
	if names := s.GetGates(); len(names) > 0 {
		text += ", with its own " + strings.Join(names, ", ")
	}
	return text
}

// position is "3/9", or "-" where the rollout is at no step.
func position(r *adminv1.Rollout) string {
	if at, ok := current(r); ok {
		return fmt.Sprintf("%d/%d", at+1, len(r.Plan))
	}
	return "-"
}

func current(r *adminv1.Rollout) (step int, ok bool) {
	resting := r.Mode == adminv1.Mode_MODE_SHADOW || r.Mode == adminv1.Mode_MODE_CANARY
	return int(r.Step), resting && r.Step >= 0 && int(r.Step) < len(r.Plan)
}

// overview is the table of all rollouts.
func overview(all []*adminv1.Rollout) string {
	if len(all) == 0 {
		return "no models are configured\n"
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tMODE\tSTEP\tREQUESTS\tCHALLENGER\tFAILED\tDISAGREE\tGATES\tBREAKER\tREVISION\tWAITS FOR")
	for _, r := range all {
		champion, challenger, mirror := r.GetChampionFigures(), r.GetChallengerFigures(), r.GetMirrorFigures()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.Model, standing(r), position(r),
			count(champion.GetRequests()+challenger.GetRequests()), count(challenger.GetRequests()),
			share(challenger.GetFailures()+mirror.GetFailures(), challenger.GetRequests()+mirror.GetSent()),
			share(mirror.GetDisagreed(), mirror.GetCompared()), gatesInShort(r), cmp.Or(r.Breaker, "-"), r.Revision, cmp.Or(oneLine(r.WaitingFor), "-"))
	}
	_ = t.Flush() // a strings.Builder takes all
	for _, r := range all {
		for _, warning := range r.Warnings {
			fmt.Fprintf(&b, "\nwarning: %s: %s", r.Model, warning)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// details is all of one rollout.
func details(r *adminv1.Rollout, now rates) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, revision %d\n\n", r.Model, standing(r), r.Revision)
	facts(&b, r)
	b.WriteString("\n")
	figures(&b, r, now)
	if len(r.Gates) > 0 {
		gates(&b, r)
	}
	if len(r.Plan) > 0 && r.Challenger != nil {
		b.WriteString("\nPlan\n")
		plan(&b, r)
	}
	if len(r.Events) > 0 {
		b.WriteString("\nLast changes\n")
		events(&b, r.Events)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "\nwarning: %s\n", warning)
	}
	return b.String()
}

func facts(b *strings.Builder, r *adminv1.Rollout) {
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(b, "  %-12s"+format+"\n", append([]any{name}, args...)...)
	}
	fact("champion", "%s", specName(r.Champion))
	if r.Challenger == nil {
		fact("challenger", "none; name one in the config file to rehearse it")
		return
	}
	fact("challenger", "%s", specName(r.Challenger))
	fact("breaker", "%s", cmp.Or(r.Breaker, "-"))
	if at, ok := current(r); ok {
		fact("step", "%s %s", position(r), stepName(r.Plan[at]))
		fact("so far", "%s, %s requests", span(r.StepElapsed.AsDuration()), count(r.StepRequests))
		if left := r.StepRemaining.AsDuration(); left > 0 {
			fact("time left", "%s at least", span(left))
		}
	}
	if r.WaitingFor != "" {
		fact("waits for", "%s", oneLine(r.WaitingFor))
	}
}

// figures is the table of both arms and the copies.
func figures(b *strings.Builder, r *adminv1.Rollout, now rates) {
	champion, challenger, mirror := r.GetChampionFigures(), r.GetChallengerFigures(), r.GetMirrorFigures()
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, requests, failures int64, per rate, q quantiles) {
		fmt.Fprintf(t, "  %-12s\t%s\t", name, count(requests))
		if now.live {
			fmt.Fprintf(t, "%s\t", per)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", count(failures), share(failures, requests),
			latency(q.GetP50().AsDuration()), latency(q.GetP95().AsDuration()), latency(q.GetP99().AsDuration()))
	}
	head := "\tREQUESTS\t"
	if now.live {
		head += "PER SECOND\t"
	}
	fmt.Fprintln(t, head+"FAILED\tSHARE\tP50\tP95\tP99\t")
	row("champion", champion.GetRequests(), champion.GetFailures(), now.champion, champion)
	if r.Challenger != nil {
		row("challenger", challenger.GetRequests(), challenger.GetFailures(), now.challenger, challenger)
		row("copies", mirror.GetSent(), mirror.GetFailures(), now.copies, mirror)
	}
	_ = t.Flush() // a strings.Builder takes all
	if r.Challenger == nil {
		return
	}
	fmt.Fprintf(b, "\n  %s of %s pairs disagree (%s)\n", count(mirror.GetDisagreed()), count(mirror.GetCompared()), share(mirror.GetDisagreed(), mirror.GetCompared()))
	fmt.Fprintf(b, "  %s failures were hidden from users by the champion's answer\n", count(r.Fallbacks))
	if skipped := mirror.GetSkipped(); len(skipped) > 0 {
		var parts []string
		for _, reason := range slices.Sorted(maps.Keys(skipped)) {
			parts = append(parts, reason+" "+count(skipped[reason]))
		}
		fmt.Fprintf(b, "  not copied: %s\n", strings.Join(parts, ", "))
	}
}

func plan(b *strings.Builder, r *adminv1.Rollout) {
	at, resting := current(r)
	for i, s := range r.Plan {
		mark := " "
		switch {
		case resting && i == at:
			mark = ">"
		case resting && i < at, r.Mode == adminv1.Mode_MODE_PROMOTED:
			mark = "+"
		}
		fmt.Fprintf(b, "  %s %d %s\n", mark, i+1, stepName(s))
	}
}

// shown is how many changes are listed; the JSON has them all.
const shown = 8

func events(b *strings.Builder, all []*adminv1.Event) {
	for _, e := range all[:min(len(all), shown)] {
		fmt.Fprintf(b, "  %s  %s to %s, by %s: %s\n", e.Time.AsTime().Local().Format("2006-01-02 15:04:05"), e.Kind,
			inMode(e.Mode, e.WeightPercent), e.Actor, oneLine(e.Reason))
	}
}

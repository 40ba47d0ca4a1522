package main

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// page is the document whose tables are written here.
const page = "docs/decisions.md"

// writeDocs plays the judges side by side, and writes the tables and plots of the page.
func writeDocs(ctx context.Context, f flags, results []result, t *table) error {
	s := sample{f.quick, t.step}
	var scores [][]score
	for _, c := range scenarios {
		var row []score
		for j, name := range judges {
			t.begin("side by side: " + c.name + ": " + name)
			row = append(row, duel(ctx, c, j, s.pick(10, 50), t.step))
		}
		scores = append(scores, row)
	}
	t.begin("plots")
	for _, err := range []error{plotEvidence(), plotDetection(ctx, s), plotPasses(ctx, s), plotDuel(scores)} {
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fill(page, map[string]string{"claims": claimsTable(results, s), "judges": judgesTable(scores, s.pick(10, 50))})
}

// fill puts texts between their marks in a file: <!-- sim: name --> to <!-- sim: end -->.
func fill(file string, texts map[string]string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	page := string(b)
	for name, text := range texts {
		begin, end := "<!-- sim: "+name+" -->\n", "<!-- sim: end -->"
		before, rest, ok := strings.Cut(page, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			return fmt.Errorf("%s: no marks for %s", file, name)
		}
		page = before + begin + text + end + after
	}
	return replace(file, []byte(page))
}

func claimsTable(results []result, s sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe %s form. Chances are of %s rollouts or more (of users who come back %s, of few users who send most %s, of lost results %s), medians of %d or more.\n",
		map[bool]string{true: "short", false: "long"}[s.quick], thousands(float64(s.rollouts())), thousands(float64(s.pick(500, 1000))), thousands(float64(s.pick(6_000, 10_000))),
		thousands(float64(s.pick(100, 500))), s.pick(50, 500))
	group := ""
	for _, r := range results {
		if r.claim.group != group {
			group = r.claim.group
			fmt.Fprintf(&b, "\n| %s | measured | 98 %% interval | must be | |\n| --- | --- | --- | --- | --- |\n", group)
		}
		u, bound, met := r.claim.unit, "≤ ", "met"
		if r.claim.least {
			bound = "≥ "
		}
		if !r.Met {
			met = "**not met**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s to %s | %s%s | %s |\n", r.claim.name, u.show(r.Measured), u.show(r.Low), u.show(r.High), bound, u.show(r.Limit), met)
	}
	return b.String() + "\n"
}

func judgesTable(scores [][]score, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d rollouts each. Rolled back / promoted / neither by 72 h, users met and time until then (medians).\n\n| | %s |\n| --- | --- | --- | --- |\n", n, strings.Join(judges, " | "))
	for i, c := range scenarios {
		name := c.name
		if c.harmful {
			name = "**harmful:** " + name
		}
		cells := []string{name}
		for _, s := range scores[i] {
			neither := s.rolledBack.All - s.rolledBack.Of - s.promoted.Of
			cells = append(cells, fmt.Sprintf("%d / %d / %d; %s users; %s", s.rolledBack.Of, s.promoted.Of, neither, thousands(float64(s.users)), hours(s.hours)))
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String() + "\n"
}

func hours(h float64) string {
	if h < 2 {
		return fmt.Sprintf("%.0f min", 60*h)
	}
	return fmt.Sprintf("%.1f h", h)
}

package config

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

const (
	// defaultOutcomeHorizon is the age at which an outcome counts.
	defaultOutcomeHorizon = 24 * time.Hour
	mostOutcomeHorizon    = 30 * 24 * time.Hour
)

// outcomeName is what stands in metrics, on the command line and in messages on a topic.
var outcomeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// outcome reads the keys of a gate on a reported outcome. Which of allowedDecrease and
// allowedIncrease stands there says whether more of it is better.
func (o object) outcome(g *rollout.Gate) {
	const name = "the name that reports give, up to 64 of a-z A-Z 0-9 . _ -, such as converted"
	o.need("outcome", name)
	o.string("outcome", &g.Outcome, name)
	if n, ok := o.fields["outcome"]; ok && !outcomeName.MatchString(g.Outcome) {
		n.fail("is %s; want %s", n.describe(), name)
	}
	as, absent := "rate", "zero"
	o.choice("as", &as, []string{"rate", "mean"}, nil)
	o.choice("absent", &absent, []string{"zero", "ignore"}, nil)
	g.Mean, g.ReportedOnly = as == "mean", absent == "ignore"
	g.From, g.To = 0, 1
	o.outcomeRange(g)
	key := "allowedDecrease"
	if g.Fewer = o.has("allowedIncrease"); g.Fewer {
		key = "allowedIncrease"
	}
	if n, ok := o.fields["allowedIncrease"]; ok && o.has("allowedDecrease") {
		n.fail("stands beside allowedDecrease; want allowedDecrease where more of the outcome is better, allowedIncrease where less is")
	}
	if g.Mean {
		o.meanMargin(key, g)
		return
	}
	o.margin(key, g)
	if n, ok := o.fields[key]; ok && g.Relative && !g.Fewer && g.Margin >= 1 {
		n.fail("is %s, and a rate can't lose more than all of itself; want less than 100%%", n.describe())
	}
}

// outcomeRange reads the values that a mean is of.
func (o object) outcomeRange(g *rollout.Gate) {
	const want = "two numbers, the least and the largest value, such as [0, 500]"
	n, ok := o.fields["range"]
	switch {
	case !g.Mean && ok:
		n.fail("is for `as: mean`; a rate is of 0 and 1; remove it")
		return
	case g.Mean:
		o.need("range", want)
	}
	if !ok {
		return
	}
	elements, ok := n.list(want)
	if !ok {
		return
	}
	var ends []float64
	for _, e := range elements {
		s, _ := e.text(want)
		if v, err := strconv.ParseFloat(s, 64); err == nil && v >= -1e9 && v <= 1e9 {
			ends = append(ends, v)
		}
	}
	if len(elements) != 2 || len(ends) != 2 || ends[0] >= ends[1] {
		n.fail("is no range; want %s, from −1e9 to 1e9", want)
		return
	}
	g.From, g.To = ends[0], ends[1]
}

// meanMargin reads how far a mean may move to the worse, in the unit of its values.
func (o object) meanMargin(key string, g *rollout.Gate) {
	o.need(key, "how far the mean may move to the worse, in the outcome's unit, such as 0.5")
	o.number(key, &g.Margin, 1e-9, 1e9, "0.5")
	if n, ok := o.fields[key]; ok && g.Margin >= g.To-g.From {
		n.fail("is %s, as wide as the range of the values: no mean could move further; want less", n.describe())
	}
}

// checkOutcomes holds the models' gates on outcomes against the section that takes reports.
func (d *document) checkOutcomes(root object, c *Config) {
	for i, m := range c.Models {
		for j, g := range m.Rules.Gates {
			path := fmt.Sprintf("models[%d].gates[%d]", i, j)
			switch line := root.fields["models"].line(); {
			case !g.Late():
			case c.Outcomes == nil && !root.has("outcomes"):
				d.fail(line, path, "%s judges what is reported, and nothing takes reports; want a section outcomes with a dir", g.Name())
				return
			case c.Outcomes != nil && g.Horizon > c.Outcomes.Window:
				d.fail(line, path+".horizon", "is %s, longer than outcomes.window, %s: later reports are refused; want at most the window", short(g.Horizon), short(c.Outcomes.Window))
			}
		}
	}
}

// sameOutcome refuses a step's gate that means another outcome than the model's: requests
// of all steps wait for theirs together.
func (g *gate) sameOutcome(base gate) {
	if !g.Late() {
		return
	}
	if g.at.has("horizon") && g.Horizon != base.Horizon || g.Mean != base.Mean || g.Fewer != base.Fewer ||
		g.ReportedOnly != base.ReportedOnly || g.From != base.From || g.To != base.To {
		g.at.fail("as, absent, range, horizon and the direction of %s are fixed for the rollout; want those of line %d", g.Name(), base.at.line())
	}
	g.Horizon = base.Horizon
}

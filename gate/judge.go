package gate

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Judge says what the evidence means for the rollout at its step. It is a function of the
// checkpoint and the state. Estimates, intervals and forecasts take most of its time; they
// are there only where full.
func (c *Checkpoint) Judge(s rollout.State, full bool) rollout.Judgement {
	j := rollout.Judgement{Entered: s.Entered, Alpha: s.Rules.Alpha, Split: c.split()}
	if len(s.Rules.Gates) == 0 {
		return j
	}
	entered, step := c.at(s)
	b := bench{checkpoint: c, rules: s.Rules, entered: entered, step: step, void: j.Split.Void, words: full, full: full}
	gates := s.GatesAt(step.Index)
	for i, g := range gates {
		j.Gates = append(j.Gates, b.sit(i, g)...)
	}
	j.LogEvidence = evidence(j.Gates)
	b.condemn(&j)
	j.Shadow = c.rehearsed(s)
	return j
}

// at returns the step to judge: the state's, or, for one that is beyond shadow and canary,
// the last that there was.
func (c *Checkpoint) at(s rollout.State) (entered uint64, step *Step) {
	if step := c.Counts.Steps[s.Entered]; step != nil {
		return s.Entered, step
	}
	if all := c.Counts.entered(); len(all) > 0 && !s.Recorded() {
		last := all[len(all)-1]
		return last, c.Counts.Steps[last]
	}
	return s.Entered, &Step{Index: s.PlanIndex(), Mode: s.Mode, Weight: s.Weight}
}

// rehearsed judges what the last step in shadow left, once the rollout is beyond it.
func (c *Checkpoint) rehearsed(s rollout.State) (reports []rollout.GateReport) {
	entered, ok := c.rehearsal()
	if !ok || s.Mode == rollout.ModeShadow {
		return nil
	}
	// What came after the rehearsal is none of its evidence.
	b := bench{checkpoint: &Checkpoint{Counts: c.Counts}, rules: s.Rules, entered: entered, step: c.Counts.Steps[entered], words: true}
	for i, g := range s.GatesAt(b.step.Index) {
		if r := b.report(Series{Gate: i}, g); r.Applies {
			reports = append(reports, r)
		}
	}
	return reports
}

// evidence is ln of the evidence of all gates in the budget; priors that nothing has used
// lie idle.
func evidence(reports []rollout.GateReport) float64 {
	idle, logs := 1.0, []float64{}
	for _, r := range reports {
		if r.Gate.Spends() && r.Prior > 0 {
			idle -= r.Prior
			logs = append(logs, math.Log(r.Prior)+r.LogFail)
		}
	}
	return logSum(append(logs, math.Log(max(idle, 0))))
}

// bench is where gates are judged, at one step.
type bench struct {
	checkpoint *Checkpoint
	rules      rollout.Rules
	entered    uint64
	step       *Step
	// words are sentences, full has estimates and forecasts too.
	void, words, full bool
}

// sit judges a gate for all requests and for its cohorts, the worst first.
func (b bench) sit(i int, g rollout.Gate) []rollout.GateReport {
	all := []rollout.GateReport{b.report(Series{Gate: i}, g)}
	for k := range b.checkpoint.Series {
		if k.Gate == i && k.Segment != "" {
			all = append(all, b.report(k, g))
		}
	}
	slices.SortFunc(all[1:], func(x, y rollout.GateReport) int {
		return cmp.Or(cmp.Compare(y.LogFail, x.LogFail), strings.Compare(x.Segment, y.Segment))
	})
	return all
}

// prior is a series' part of the budget: half of a gate's goes to all requests, half to
// the cohorts that there may be.
func (b bench) prior(k Series, g rollout.Gate) float64 {
	share := g.Share
	if share == 0 { // it spends nothing of the budget
		share = 1 / float64(len(b.rules.Gates))
	}
	sources := len(b.rules.Segments)
	switch {
	case sources == 0:
		return share
	case k.Segment == "":
		return share / 2
	}
	return share / 2 / float64(sources*(b.rules.MaxCohorts+1))
}

func (b bench) report(k Series, g rollout.Gate) rollout.GateReport {
	c := b.votes(k)
	m, at := of(g), placeOf(g, b.step)
	n := m.trials(at, c)
	r := rollout.GateReport{Gate: g, Segment: k.Segment, Prior: b.prior(k, g), Counts: c.counts(g), Missing: -1, Low: 1, High: -1,
		Applies: g.In(b.step.Mode) && at.compares() && (k.Segment == "" || n >= g.MinRequests)}
	if p := b.checkpoint.Series[k]; p != nil {
		r.LogFail = p.logE()
	}
	if n > 0 && at.compares() {
		r.LogPass = m.pass(at, c)
	}
	b.decide(&r, k, at, n)
	if warm := b.step.Warm[k]; warm != nil && b.words {
		r.Why += fmt.Sprintf("; kept apart in the first %s: %s of the challenger's %s, %s of the champion's %s", Span(b.rules.WarmUp),
			Number(warm.ChallengerBad), Number(warm.ChallengerLive), Number(warm.ChampionBad), Number(warm.ChampionLive))
	}
	if b.full && n > 0 && r.Applies {
		r.Estimate, r.Low, r.High = m.estimate(at, c, b.rules.Alpha)
		b.forecast(&r, at, c, n)
	}
	return r
}

// decide gives the verdict and the sentence.
func (b bench) decide(r *rollout.GateReport, k Series, at place, n int64) {
	g, level, c := r.Gate, math.Log(1/b.rules.Alpha), b.votes(k)
	r.Verdict = rollout.Inconclusive
	says := ""
	if b.words {
		says = b.found(g, at, c)
		if all := of(g).trials(at, b.events(k)); b.step.Firsts != nil && n < all-all/10 {
			says = "of each routing key the first request at this step: " + says
		}
	}
	switch {
	case !g.In(b.step.Mode):
		r.Why = "does not judge in " + b.step.Mode.String()
	case b.void:
		r.Why = "void: the split is broken"
	case g.Metric != rollout.Drift && math.Log(r.Prior)+r.LogFail >= level,
		g.Metric == rollout.Drift && n >= g.MinRequests && drifted(g, c):
		b.fail(r, k, "")
	case !at.compares():
		r.Why = fmt.Sprintf("all requests go to one arm at %s: there is nothing to compare", b.step.Weight)
	case !r.Applies:
		r.Why = fmt.Sprintf("%s of the %s %s that a cohort must have to be judged", Number(n), Number(g.MinRequests), unit(at))
	case b.crowded(g):
		r.Why = "too many keys have had a bad event to tell new ones apart: no pass any more; promote by hand, or roll back and retry"
	case n == 0 && g.Metric == rollout.TailLatency && b.step.Slow == 0:
		r.Why = "the champion's p99 is not known yet"
	case n == 0 && g.Late():
		r.Why = "outcomes count when their requests are " + Span(g.Horizon) + " old, and none is yet"
	case n == 0:
		r.Why = "nothing to judge yet"
	case n < g.MinRequests:
		r.Why = fmt.Sprintf("%s: %s of at least %s %s", says, Number(n), Number(g.MinRequests), unit(at))
	case r.LogPass >= level:
		r.Verdict, r.Why = rollout.Pass, says+": "+concluded(g, rollout.Pass)
	default:
		r.Why = says + ": " + concluded(g, rollout.Inconclusive)
	}
}

// votes are the counts that a pass stands on, events those of a fail.
func (b bench) votes(k Series) *Cell {
	if b.step.Firsts != nil {
		return cellIn(b.step.Firsts, k)
	}
	return b.events(k)
}

func (b bench) events(k Series) *Cell { return cellIn(b.step.Cells, k) }

func cellIn(cells map[Series]*Cell, k Series) *Cell {
	if c := cells[k]; c != nil {
		return c
	}
	return new(Cell)
}

// fail gives the verdict, with the counts that it stands on. It needs no least number of
// requests: a cohort that is shown to be worse is judged, however small it is.
func (b bench) fail(r *rollout.GateReport, k Series, with string) {
	c := b.events(k)
	r.Verdict, r.Counts, r.Applies = rollout.Fail, c.counts(r.Gate), true
	if b.words {
		r.Why = b.found(r.Gate, placeOf(r.Gate, b.step), c) + ": " + with + concluded(r.Gate, rollout.Fail) + b.overall()
	}
}

// found says what a gate has counted at the step.
func (b bench) found(g rollout.Gate, at place, c *Cell) string {
	if of(g).trials(at, c) == 0 {
		return "nothing is counted at this step yet"
	}
	return found(g, at, c, b.step.Slow)
}

// overall tells of evidence that came at other steps, too.
func (b bench) overall() string {
	if len(b.checkpoint.Counts.Steps) > 1 || b.checkpoint.Counts.Steps[b.entered] == nil {
		return ", with what was counted at the steps before"
	}
	return ""
}

func (b bench) crowded(g rollout.Gate) bool {
	i := slices.IndexFunc(b.rules.Gates, func(o rollout.Gate) bool { return o.Name() == g.Name() })
	return i >= 0 && i < len(b.checkpoint.Bad) && b.checkpoint.Bad[i].Full()
}

// drifted tells whether the index is over its limit by more than chance explains: twice
// what it is expected to be where nothing drifts.
func drifted(g rollout.Gate, c *Cell) bool {
	d := c.Scores.compare()
	return d.PSI > g.Limit+2*d.Expected
}

// condemn marks the gate that the whole budget fails, where none fails alone: the one with
// the most evidence.
func (b bench) condemn(j *rollout.Judgement) {
	if b.void || j.LogEvidence < math.Log(1/b.rules.Alpha) {
		return
	}
	worst := -1
	for i, r := range j.Gates {
		if !r.Gate.Spends() {
			continue
		}
		if r.Verdict == rollout.Fail {
			return
		}
		if worst < 0 || math.Log(r.Prior)+r.LogFail > math.Log(j.Gates[worst].Prior)+j.Gates[worst].LogFail {
			worst = i
		}
	}
	if worst < 0 {
		return
	}
	r := &j.Gates[worst]
	i := slices.IndexFunc(b.rules.Gates, func(g rollout.Gate) bool { return g.Name() == r.Gate.Name() })
	b.fail(r, Series{i, r.Segment}, "with the other gates' evidence ")
}

func (c *Cell) counts(g rollout.Gate) rollout.GateCounts {
	out := rollout.GateCounts{Champion: c.ChampionLive, ChampionBad: c.ChampionBad, Challenger: c.ChallengerLive, ChallengerBad: c.ChallengerBad,
		Pairs: c.Pairs, ChallengerOnly: c.ChallengerOnly, ChampionOnly: c.ChampionOnly, Both: c.Both}
	out.Pairs = max(out.Pairs, c.Shift.N, drift{}.trials(place{}, c))
	if m, ok := of(g).(mean); ok {
		out.ChampionMean, out.ChallengerMean = c.ChampionValues.mean(c.ChampionLive, m), c.ChallengerValues.mean(c.ChallengerLive, m)
	}
	return out
}

// A forecast looks ahead as far as farthest times what there is, and mostTrials in all.
const (
	farthest   = 1 << 14
	mostTrials = 1 << 32
)

// forecast says how many more requests a pass takes if all goes on as at this step.
func (b bench) forecast(r *rollout.GateReport, at place, c *Cell, n int64) {
	switch {
	case r.Verdict == rollout.Pass:
		r.Missing = 0
		return
	case r.Verdict == rollout.Fail || b.void || b.crowded(r.Gate):
		return
	}
	m, level := of(r.Gate), math.Log(1/b.rules.Alpha)
	most := int(min(farthest*n, mostTrials-n))
	more := sort.Search(most, func(more int) bool {
		grown := c.times(1 + float64(more)/float64(n))
		return n+int64(more) >= r.Gate.MinRequests && m.pass(at, &grown) >= level
	})
	if more >= most {
		return
	}
	r.Missing = int64(more)
	if seconds := b.step.Gathered.Seconds(); seconds > 0 {
		r.Expected = time.Duration(float64(r.Missing) / float64(n) * seconds * float64(time.Second))
		if r.Gate.Late() {
			r.Expected = time.Duration(float64(r.Missing)/float64(n)*max(seconds-r.Gate.Horizon.Seconds(), 1)) * time.Second
		}
	}
}

// times returns the cell with k times the counts; the distributions stay as they are.
func (c *Cell) times(k float64) Cell {
	x := func(n int64) int64 { return int64(math.Round(float64(n) * k)) }
	return Cell{ChampionLive: x(c.ChampionLive), ChampionBad: x(c.ChampionBad), ChallengerLive: x(c.ChallengerLive), ChallengerBad: x(c.ChallengerBad),
		Pairs: x(c.Pairs), ChallengerOnly: x(c.ChallengerOnly), ChampionOnly: x(c.ChampionOnly), Both: x(c.Both),
		Shift: c.Shift.times(k), Scores: c.Scores,
		ChampionValues: Values{Sum: x(c.ChampionValues.Sum), Centred: c.ChampionValues.Centred.times(k)}, ChallengerValues: Values{Sum: x(c.ChallengerValues.Sum), Centred: c.ChallengerValues.Centred.times(k)}}
}

func (m Moments) times(k float64) Moments {
	x := func(n int64) int64 { return int64(math.Round(float64(n) * k)) }
	return Moments{N: x(m.N), Sum: x(m.Sum), Squares: x(m.Squares)}
}

// split reports whether the split can be trusted.
func (c *Checkpoint) split() rollout.SplitReport {
	r := rollout.SplitReport{Void: c.Void, LogEvidence: c.mismatch()}
	for _, f := range c.Counts.Keys {
		r.Champion += f.Champion
		r.Challenger += f.Challenger
	}
	switch {
	case r.Void:
		r.Why = "keys, or results that are missing, do not fall on the arms as the weight says: no verdict counts and the rollout holds; " +
			"look at what is lost behind the split, then roll back and retry"
	case r.Champion+r.Challenger == 0:
		r.Why = "no keys in canary yet"
	default:
		r.Why = fmt.Sprintf("%s keys on the challenger, %s on the champion: as the weights say", Number(r.Challenger), Number(r.Champion))
	}
	return r
}

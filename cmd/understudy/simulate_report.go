package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// confidence is that of the intervals in a forecast.
const confidence = 0.95

// forecast is what `simulate -o json` prints. Times are in seconds.
type forecast struct {
	Model   string   `json:"model"`
	RPS     float64  `json:"rps"`
	Users   int      `json:"users"`
	Seed    uint64   `json:"seed"`
	Runs    int      `json:"runs"`
	Horizon float64  `json:"horizonSeconds"`
	Healthy fate     `json:"healthy"`
	Worse   *capture `json:"worse,omitempty"`

	path      string
	words     []planned
	described string
}

// fate is how rollouts ended, each share of all that were played.
type fate struct {
	Ended      int              `json:"runs"`
	RolledBack simulation.Share `json:"rolledBack"`
	Promoted   simulation.Share `json:"promoted"`
	Waiting    simulation.Share `json:"waiting"`
	// By counts what rolled back or held them, WaitingFor what the others waited for.
	By         map[string]int `json:"by"`
	WaitingFor map[string]int `json:"waitingFor"`
	// Promotion is the time to it, Steps that of each step that was left.
	Promotion spread     `json:"promotionSeconds"`
	Steps     []stepTime `json:"steps"`
}

// capture is fate of a worse challenger, and what it took to catch it, from the moment on at
// which it got worse.
type capture struct {
	fate
	Caught   simulation.Share `json:"caught"`
	Time     spread           `json:"catchSeconds"`
	Requests spread           `json:"catchRequests"`
	Users    spread           `json:"usersExposed"`
	Served   spread           `json:"answersServed"`
	Slow     spread           `json:"answersSlow"`
	Wrong    spread           `json:"answersWrong"`
	Hidden   spread           `json:"failuresHidden"`
}

// spread is a median and a 90th percentile.
type spread struct {
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
}

type stepTime struct {
	Step   string `json:"step"`
	Passed int    `json:"passed"`
	spread
}

func spreadOf(all []float64) spread {
	return spread{simulation.Quantile(all, 0.5), simulation.Quantile(all, 0.9)}
}

func (w *wanted) forecast(setups []simulation.Setup, all [][]*simulation.Result, runs int) *forecast {
	s := setups[0]
	f := &forecast{Model: s.Model, RPS: w.rps, Users: w.users, Seed: w.seed, Runs: runs, Horizon: w.horizon.Seconds(),
		path: w.path, words: planInWords(s.Configured), described: w.described()}
	f.Healthy = fateOf(ended(all[0]), s.Plan, f.words)
	if len(setups) > 1 {
		f.Worse = captureOf(ended(all[1]), s.Plan, f.words)
	}
	return f
}

func ended(all []*simulation.Result) (out []simulation.Result) {
	for _, r := range all {
		if r != nil {
			out = append(out, *r)
		}
	}
	return out
}

func fateOf(all []simulation.Result, plan rollout.Plan, words []planned) fate {
	is := func(test func(simulation.Result) bool) simulation.Share {
		return simulation.ShareOf(simulation.CountIf(all, test), max(len(all), 1), confidence)
	}
	f := fate{Ended: len(all), By: map[string]int{}, WaitingFor: map[string]int{},
		RolledBack: is(simulation.Result.Caught),
		Promoted:   is(func(r simulation.Result) bool { return r.Outcome == simulation.Promoted }),
		Waiting:    is(func(r simulation.Result) bool { return !r.Caught() && r.Outcome != simulation.Promoted }),
	}
	var promotions []float64
	took := map[int][]float64{}
	for _, r := range all {
		switch {
		case r.Outcome == simulation.Promoted:
			promotions = append(promotions, r.At.Seconds())
		case r.Outcome == simulation.Suspended:
			f.By["breaker, in shadow"]++
		case r.Caught():
			f.By[r.By]++
		default:
			f.WaitingFor[r.By]++
		}
		for step, d := range r.Steps {
			if r.Outcome == simulation.Promoted || plan[step].Kind == rollout.StepShadow {
				took[step] = append(took[step], d.Seconds())
			}
		}
	}
	f.Promotion = spreadOf(promotions)
	place := 0
	for i, s := range plan {
		if s.Kind != rollout.StepSetWeight {
			f.Steps = append(f.Steps, stepTime{stepInWords(words[place].words), len(took[i]), spreadOf(took[i])})
			place++
		}
	}
	return f
}

// stepInWords is the place of a planned step, without what ends it.
func stepInWords(words string) string {
	place, _, _ := strings.Cut(words, ",")
	return place
}

func captureOf(all []simulation.Result, plan rollout.Plan, words []planned) *capture {
	caught := slices.DeleteFunc(slices.Clone(all), func(r simulation.Result) bool { return !r.Caught() || r.SinceRequests == 0 })
	figure := func(of []simulation.Result, f func(simulation.Result) float64) spread {
		return spreadOf(simulation.Of(of, f))
	}
	c := &capture{fate: fateOf(all, plan, words)}
	c.Caught = c.RolledBack
	c.Time = figure(caught, func(r simulation.Result) float64 { return r.Since.Seconds() })
	c.Requests = figure(caught, func(r simulation.Result) float64 { return float64(r.SinceRequests) })
	c.Users = figure(all, func(r simulation.Result) float64 { return float64(r.Users) })
	c.Served = figure(all, func(r simulation.Result) float64 { return float64(r.Served) })
	c.Slow = figure(all, func(r simulation.Result) float64 { return float64(r.Slow) })
	c.Wrong = figure(all, func(r simulation.Result) float64 { return float64(r.Wrong) })
	c.Hidden = figure(all, func(r simulation.Result) float64 { return float64(r.Hidden) })
	return c
}

// described says how the worse challenger is worse.
func (w *wanted) described() string {
	var parts []string
	if w.challengerGiven {
		parts = append(parts, "fails "+fine(float64(w.challengerError)))
	}
	if w.challengerLatency > 0 {
		parts = append(parts, "takes "+w.challengerLatency.String())
	}
	if w.disagreement > 0 {
		parts = append(parts, "predicts otherwise in "+fine(float64(w.disagreement)))
	}
	if w.shift != 0 {
		parts = append(parts, fmt.Sprintf("shifts scores by %v", w.shift))
	}
	if w.from > 0 {
		parts = append(parts, "from "+span(w.from)+" on")
	}
	return strings.Join(parts, ", ")
}

// print writes the forecast for people.
func (f *forecast) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "model %s of %s, at %v requests/s\n\n", f.Model, f.path, f.RPS)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "a challenger as good as the champion%s\n", partial(f.Healthy.Ended, f.Runs))
	f.Healthy.print(t, "rolled back all the same", "promoted", f.Horizon)
	fmt.Fprintf(t, "  time to promotion\t%s\n", f.Healthy.Promotion.times())
	for i, s := range f.Healthy.Steps {
		fmt.Fprintf(t, "    %d. %s\t%s\n", i+1, s.Step, s.times())
	}
	if c := f.Worse; c != nil {
		fmt.Fprintf(t, "\na challenger that %s%s\n", f.described, partial(c.Ended, f.Runs))
		c.print(t, "caught", "promoted all the same", f.Horizon)
		fmt.Fprintf(t, "  time to catch it\t%s\n  requests by then, of both arms\t%s\n", c.Time.times(), c.Requests.counts())
		fmt.Fprintf(t, "  users whom it met\t%s\n  answers that it gave\t%s\n", c.Users.counts(), c.Served.counts())
		fmt.Fprintf(t, "    slow\t%s\n    unlike the champion's\t%s\n", c.Slow.counts(), c.Wrong.counts())
		fmt.Fprintf(t, "  failures hidden by the champion\t%s\n", c.Hidden.counts())
	}
	_ = t.Flush() // a strings.Builder takes all
	if f.Worse == nil {
		b.WriteString("\ndescribe a worse challenger, such as by --challenger-error 2%, to see whether it is caught\n")
	}
	_, err := io.WriteString(w, clean(b.String()))
	return err
}

// partial says that not all rollouts were played to their end.
func partial(ended, wanted int) string {
	if ended == wanted {
		return ""
	}
	return fmt.Sprintf(" (interrupted: %s of %s rollouts)", count(int64(ended)), count(int64(wanted)))
}

func (f fate) print(t io.Writer, back, promoted string, horizon float64) {
	fmt.Fprintf(t, "  %s\t%s\n", back, shareInWords(f.RolledBack))
	most(t, "by ", f.By)
	fmt.Fprintf(t, "  %s\t%s\n", promoted, shareInWords(f.Promoted))
	fmt.Fprintf(t, "  still waiting, after %s or a maxDuration\t%s\n", span(time.Duration(horizon*float64(time.Second))), shareInWords(f.Waiting))
	most(t, "for ", f.WaitingFor)
}

// most lists what came how often.
func most(t io.Writer, before string, n map[string]int) {
	for _, name := range slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(n[b]-n[a], strings.Compare(a, b)) }) {
		fmt.Fprintf(t, "    %s%s\t%s\n", before, name, count(int64(n[name])))
	}
}

// shareInWords writes "3 of 200, 1.5% (0.31% to 4.32%)".
func shareInWords(s simulation.Share) string {
	return fmt.Sprintf("%s of %s, %s (%s to %s)", count(int64(s.Of)), count(int64(s.All)), share(int64(s.Of), int64(s.All)), percent(100*s.Low), percent(100*s.High))
}

func (s spread) times() string {
	if s.P90 == 0 {
		return "-"
	}
	seconds := func(x float64) string { return span(time.Duration(x * float64(time.Second))) }
	return "median " + seconds(s.Median) + ", 9 of 10 within " + seconds(s.P90)
}

func (s spread) counts() string {
	return "median " + count(int64(s.Median)) + ", 9 of 10 up to " + count(int64(s.P90))
}

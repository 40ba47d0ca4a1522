package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/simulation"
)

// wanted is what the user asks to be simulated.
type wanted struct {
	path, model                          string
	rps, shift                           float64
	championError, challengerError       fraction
	disagreement                         fraction
	championLatency, challengerLatency   time.Duration
	from, horizon                        time.Duration
	users, runs                          int
	seed                                 uint64
	challengerGiven, regressionDescribed bool
	// left are gates that can't be simulated.
	left []rollout.Gate
}

func simulateCommand() *cobra.Command {
	w := wanted{championError: 0.01, championLatency: 20 * time.Millisecond, users: 100_000, horizon: 72 * time.Hour, seed: 1}
	cmd := &cobra.Command{
		Use:   "simulate --plan FILE --rps N",
		Short: "Try a model's plan and gates on made-up traffic: how long, how safe, how sharp",
		Long: `Play many rollouts of a model on made-up traffic, with the plan, gates and breaker of the
config file and the gateway's own statistics, in made-up time. Nothing is contacted.

First with a challenger as good as the champion: how often it is rolled back all the same, and
how long it takes to be promoted, step by step. Then, where a flag describes one, with a worse
challenger: how often, how fast and by what it is caught, how many users have met it by then,
and how often it is promoted all the same.

What is assumed: requests come at random moments, from users who all send alike, and no
segments; answers take log-normal times whose 99th percentile is four times the median; errors
come as fast as answers, independently of each other; a healthy challenger predicts as the
champion does; a pass counts each user once a step, so that few users never make one that asks
for many; whoever operates resumes a "pause: {}" as soon as its gates pass. The breaker's
failures in a row are counted, its failureRatio is not: it only makes rollbacks come sooner.`,
		Example: `  understudy simulate --plan understudy.yaml --rps 20
  understudy simulate --plan understudy.yaml --rps 20 --champion-error 1% --challenger-error 2%
  understudy simulate --plan understudy.yaml --rps 20 --challenger-error 5% --challenger-from 1h
  understudy simulate --plan understudy.yaml --model fraud --rps 200 --disagreement 3% --runs 500
  understudy simulate --plan understudy.yaml --rps 20 --challenger-latency 60ms -o json | jq .worse.caught`,
		Args: exactly(0, "no arguments"),
	}
	w.bind(cmd.Flags())
	_ = cmd.MarkFlagFilename("plan", "yaml", "yml")
	out := bindFormat(cmd)
	cmd.Flags().Lookup("output").Usage = "how to print: table for people, json for programs"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		given := cmd.Flags().Changed
		w.challengerGiven = given("challenger-error")
		w.regressionDescribed = slices.ContainsFunc([]string{"challenger-error", "challenger-latency", "disagreement", "score-shift"}, given)
		healthy, worse, err := w.setups()
		if err != nil {
			return err
		}
		for _, g := range w.left {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s is left out: what it judges is reported by others, later; a step in canary lasts at least its horizon of %s\n", g.Name(), span(g.Horizon))
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process at once
		report, err := w.simulate(ctx, healthy, worse, newProgressBar(cmd.ErrOrStderr()))
		if err != nil {
			return err
		}
		if *out == formatJSON {
			return printIndented(cmd.OutOrStdout(), report)
		}
		return report.print(cmd.OutOrStdout())
	}
	return cmd
}

func (w *wanted) bind(f *pflag.FlagSet) {
	f.StringVarP(&w.path, "plan", "c", "", "config `file` with the model's plan and gates, as of serve; required. --config is the same")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "config" {
			name = "plan"
		}
		return pflag.NormalizedName(name)
	})
	f.StringVar(&w.model, "model", "", "`name` of the model; may be left out where only one has a challenger")
	f.Float64Var(&w.rps, "rps", 0, "the model's requests a second; required")
	f.Var(&w.championError, "champion-error", "share of requests that the champion fails")
	f.Var(&w.challengerError, "challenger-error", "share that a worse challenger fails")
	f.DurationVar(&w.championLatency, "champion-latency", w.championLatency, "median time of the champion's answers")
	f.DurationVar(&w.challengerLatency, "challenger-latency", 0, "median `time` of a worse challenger's answers")
	f.Var(&w.disagreement, "disagreement", "share of a worse challenger's predictions that differ from the champion's")
	f.Float64Var(&w.shift, "score-shift", 0, "mean `difference` of a worse challenger's scores from the champion's")
	f.DurationVar(&w.from, "challenger-from", 0, "`time` after its start at which a worse challenger gets worse; before, it is healthy")
	f.IntVar(&w.users, "users", w.users, "`number` of routing keys; 0: requests have none")
	f.IntVar(&w.runs, "runs", 0, "`number` of rollouts of each kind, up to 100000; default: as many as end in about a minute, 20 to 1000")
	f.Uint64Var(&w.seed, "seed", w.seed, "another `number` gives other traffic, the same one the same")
	f.DurationVar(&w.horizon, "horizon", w.horizon, "time after which a rollout that still waits is given up")
}

// setups reads the file and says what to simulate; worse is nil where no flag describes it.
func (w *wanted) setups() (healthy simulation.Setup, worse *simulation.Setup, err error) {
	if err := w.validate(); err != nil {
		return healthy, nil, err
	}
	cfg, err := loadConfig(w.path)
	if err != nil {
		return healthy, nil, err
	}
	m, err := w.find(cfg)
	if err != nil {
		return healthy, nil, err
	}
	healthy = setupOf(m)
	w.left = slices.DeleteFunc(slices.Clone(m.Rules.Gates), func(g rollout.Gate) bool { return !g.Late() })
	champion := simulation.Arm{Errors: float64(w.championError), Median: w.championLatency, P99: 4 * w.championLatency}
	healthy.Horizon = w.horizon
	healthy.Traffic = simulation.Traffic{RPS: w.rps, Users: w.users, Champion: champion, Challenger: champion}
	if !w.regressionDescribed {
		return healthy, nil, nil
	}
	s := healthy
	if w.challengerGiven {
		s.Traffic.Challenger.Errors = float64(w.challengerError)
	}
	if w.challengerLatency > 0 {
		s.Traffic.Challenger.Median, s.Traffic.Challenger.P99 = w.challengerLatency, 4*w.challengerLatency
	}
	s.Traffic.Disagreement, s.Traffic.Shift, s.Traffic.From = float64(w.disagreement), w.shift, w.from
	return healthy, &s, nil
}

// setupOf is what the file says of the model.
func setupOf(m config.Model) simulation.Setup {
	s := simulation.Setup{
		Configured: m.Configured(),
		Breaker:    canary.BreakerOptions{ConsecutiveFailures: int(m.Breaker.ConsecutiveFailures)},
		Timeout:    m.Challenger.Timeout, CopyTimeout: m.Shadow.Timeout, Sample: m.Shadow.Sample,
	}
	// Outcomes are what people do, hours later: there is no telling. Their part of alpha stays theirs.
	s.Rules.Gates = slices.DeleteFunc(slices.Clone(s.Rules.Gates), rollout.Gate.Late)
	s.Plan = slices.Clone(s.Plan)
	for i := range s.Plan {
		s.Plan[i].Gates = slices.DeleteFunc(slices.Clone(s.Plan[i].Gates), rollout.Gate.Late)
	}
	for _, g := range s.Rules.Gates {
		if g.Metric == rollout.SlowRate {
			s.Slow = g.SlowerThan
		}
	}
	return s
}

func (w *wanted) validate() error {
	const mostRuns = 100_000
	switch {
	case w.path == "":
		return errors.New("--plan is missing: name the config file, such as --plan understudy.yaml")
	case w.rps == 0:
		return errors.New("--rps is missing: say how many requests a second the model gets, such as --rps 20")
	case !(w.rps > 0 && w.rps <= 10_000):
		return fmt.Errorf("--rps %v: want more than 0 and at most 10000", w.rps)
	case w.championLatency <= 0 || w.championLatency > time.Minute:
		return fmt.Errorf("--champion-latency %s: want more than 0s and at most 1m", w.championLatency)
	case w.challengerLatency < 0 || w.challengerLatency > time.Minute:
		return fmt.Errorf("--challenger-latency %s: want more than 0s and at most 1m", w.challengerLatency)
	case math.IsNaN(w.shift) || math.IsInf(w.shift, 0):
		return fmt.Errorf("--score-shift %v: want a number", w.shift)
	case w.users < 0 || w.users > 10_000_000:
		return fmt.Errorf("--users %d: want 0 to 10000000", w.users)
	case w.runs < 0 || w.runs > mostRuns:
		return fmt.Errorf("--runs %d: want 1 to %d, or 0 for as many as end in about a minute", w.runs, mostRuns)
	case w.horizon < time.Minute || w.horizon > 365*24*time.Hour:
		return fmt.Errorf("--horizon %s: want 1m to 8760h", w.horizon)
	case w.from < 0 || w.from >= w.horizon:
		return fmt.Errorf("--challenger-from %s: want less than the --horizon of %s", w.from, span(w.horizon))
	case w.from > 0 && !w.regressionDescribed:
		return errors.New("--challenger-from says when the challenger gets worse, but not how: add --challenger-error, --challenger-latency, --disagreement or --score-shift")
	}
	return nil
}

// find returns the model that is meant.
func (w *wanted) find(cfg *config.Config) (m config.Model, err error) {
	var with []string
	for _, m := range cfg.Models {
		if m.Challenger != nil {
			with = append(with, m.Name)
		}
	}
	name := w.model
	switch {
	case name == "" && len(with) == 1:
		name = with[0]
	case name == "" && len(with) == 0:
		return m, fmt.Errorf("no model of %s has a challenger: there is no rollout to simulate", w.path)
	case name == "":
		return m, fmt.Errorf("--model is missing: %s has several with a challenger: %s", w.path, strings.Join(with, ", "))
	}
	i := slices.IndexFunc(cfg.Models, func(m config.Model) bool { return m.Name == name })
	if i < 0 {
		return m, fmt.Errorf("--model %q: %s has no such model; with a challenger: %s", name, w.path, strings.Join(with, ", "))
	}
	m = cfg.Models[i]
	switch {
	case m.Challenger == nil:
		return m, fmt.Errorf("--model %q: it has no challenger, so there is no rollout to simulate", name)
	case len(m.Plan) == 0:
		return m, fmt.Errorf("model %s in %s has no plan: a rollout rests in shadow until an operator acts; write a plan to simulate", name, w.path)
	case !slices.ContainsFunc(m.Rules.Gates, func(g rollout.Gate) bool { return !g.Late() }):
		return m, fmt.Errorf("model %s in %s has no gates that could be simulated: its steps end by time and counts alone, and nothing but the breaker could catch it; write gates to simulate", name, w.path)
	}
	return m, nil
}

// fraction is a share of requests that is written as a percentage.
type fraction float64

// String implements pflag.Value.
func (f *fraction) String() string {
	if *f == 0 {
		return ""
	}
	return fine(float64(*f))
}

// Type implements pflag.Value.
func (f *fraction) Type() string { return "percentage" }

// Set implements pflag.Value.
func (f *fraction) Set(s string) error {
	digits, ok := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf("want a percentage with its sign, 0%% to 100%%, such as 1.5%%")
	}
	*f = fraction(v / 100)
	return nil
}

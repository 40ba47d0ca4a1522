package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
)

func checkCommand() *cobra.Command {
	path := ""
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a config file and say what it means",
		Long: `Read a config file as "understudy serve" does and say what was understood: the models, their
gates and plans in words, and what is probably not meant. Nothing is started and nothing is
contacted.

A file that is not valid gives one line for each mistake, "file:line: field: what is wrong
and what would be right", and exit code 2.`,
		Example: `  understudy check --config understudy.yaml
  understudy check --config understudy.yaml -o json | jq .errors`,
		Args: exactly(0, "no arguments"),
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "config `file`; required")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	out := bindFormat(cmd)
	cmd.Flags().Lookup("output").Usage = "how to print: table for people, json for programs"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(path)
		if *out == formatJSON && (err == nil || errors.Is(err, config.ErrInvalid)) {
			return checkedJSON(cmd.OutOrStdout(), cfg, err)
		}
		if err != nil {
			if all := config.All(err); len(all) > 0 {
				for _, e := range all {
					cmd.PrintErrln(clean(e.Error()))
				}
				return &exitError{code: exitInvalid, err: err, said: true}
			}
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), clean(explainConfig(path, cfg)))
		return err
	}
	return cmd
}

// checked is what `check -o json` prints.
type checked struct {
	Valid    bool           `json:"valid"`
	Errors   []mistake      `json:"errors"`
	Warnings []string       `json:"warnings"`
	Models   []checkedModel `json:"models"`
}

type mistake struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Field   string `json:"field,omitempty"`
	Problem string `json:"problem"`
}

type checkedModel struct {
	Name       string   `json:"name"`
	Champion   string   `json:"champion"`
	Challenger string   `json:"challenger,omitempty"`
	Alpha      float64  `json:"alpha,omitempty"`
	Gates      []string `json:"gates"`
	Segments   []string `json:"segments"`
	Plan       []string `json:"plan"`
}

// checkedJSON prints the result as JSON; err stays the command's.
func checkedJSON(w io.Writer, cfg *config.Config, err error) error {
	c := checked{Valid: err == nil, Errors: []mistake{}, Warnings: []string{}, Models: []checkedModel{}}
	for _, e := range config.All(err) {
		c.Errors = append(c.Errors, mistake{e.File, e.Line, e.Field, e.Problem})
	}
	if err != nil && len(c.Errors) == 0 {
		c.Errors = append(c.Errors, mistake{Problem: err.Error()})
	}
	if cfg != nil {
		c.Warnings = append(c.Warnings, cfg.Warnings()...)
		for _, m := range cfg.Models {
			c.Models = append(c.Models, checkedOf(m.Configured()))
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if encErr := enc.Encode(c); encErr != nil {
		return encErr
	}
	if err != nil {
		return &exitError{code: exitInvalid, err: err, said: true}
	}
	return nil
}

func checkedOf(m rollout.Configured) checkedModel {
	out := checkedModel{Name: m.Model, Champion: m.Champion.String(), Gates: []string{}, Segments: []string{}, Plan: []string{}}
	if (m.Challenger == rollout.Spec{}) {
		return out
	}
	out.Challenger = m.Challenger.String()
	if len(m.Rules.Gates) > 0 {
		out.Alpha = m.Rules.Alpha
	}
	for _, g := range m.Rules.Gates {
		out.Gates = append(out.Gates, gateInWords(g))
	}
	out.Segments = append(out.Segments, m.Rules.Segments...)
	for _, s := range planInWords(m) {
		out.Plan = append(out.Plan, strings.Join(append([]string{s.words}, s.overrides...), "; here "))
	}
	return out
}

// explainConfig says in words what the file means.
func explainConfig(path string, cfg *config.Config) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is valid: %d %s\n\n", path, len(cfg.Models), plural(len(cfg.Models), "model"))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "clients\t%s\n", cfg.Listen.GRPC+encrypted(cfg.Listen.TLS))
	fmt.Fprintf(t, "operators\t%s\n", cfg.Listen.Admin+encrypted(cfg.Admin.TLS)+", "+letIn(cfg.Admin.Tokens))
	if cfg.Sink != nil {
		k := cfg.Sink.Kafka
		fmt.Fprintf(t, "records\ttopic %s at %s, as %s\n", k.Topic, strings.Join(k.Brokers, ", "), k.Encoding)
		fmt.Fprintf(t, "waiting\t%s\n", waitingPlace(cfg.Sink))
	}
	if o := cfg.Outcomes; o != nil {
		from := "by RPC"
		if o.Kafka != nil {
			from += fmt.Sprintf(" and topic %s at %s", o.Kafka.Topic, strings.Join(o.Kafka.Brokers, ", "))
		}
		fmt.Fprintf(t, "outcomes\t%s, up to %s late, in %s\n", from, span(o.Window), o.Dir)
	}
	fmt.Fprintf(t, "state\t%s\n", cfg.Store.Path)
	if cfg.Admin.Audit != "" {
		fmt.Fprintf(t, "audit\t%s\n", cfg.Admin.Audit)
	}
	_ = t.Flush() // a strings.Builder takes all
	for _, m := range cfg.Models {
		b.WriteString("\n" + explainModel(m))
	}
	for _, w := range cfg.Warnings() {
		b.WriteString("\nwarning: " + w)
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

// waitingPlace says where records wait for Kafka.
func waitingPlace(s *config.Sink) string {
	d := s.Spool
	if d == nil {
		return fmt.Sprintf("in memory, at most %s; they end with the process", sizeOf(s.MaxQueueBytes))
	}
	sync := map[string]string{"interval": "fsync every " + d.Interval.String(), "always": "fsync before a record counts as kept",
		"never": "fsync left to the operating system"}
	goes := map[string]string{"dropNewest": "new ones", "dropOldest": "the oldest"}
	return fmt.Sprintf("in %s, at most %s, then %s are dropped; %s", d.Dir, sizeOf(d.MaxBytes), goes[d.Full], sync[d.Fsync])
}

func encrypted(t *config.ServerTLS) string {
	switch {
	case t == nil:
		return ", plaintext"
	case t.ClientCA != "":
		return ", TLS with client certificates"
	}
	return ", TLS"
}

func letIn(tokens []config.Token) string {
	if len(tokens) == 0 {
		return "callers on this machine only"
	}
	var names []string
	for _, t := range tokens {
		names = append(names, t.Name+" ("+t.Role+")")
	}
	return "tokens of " + strings.Join(names, ", ")
}

func explainModel(m config.Model) string {
	var b strings.Builder
	fmt.Fprintf(&b, "model %s\n", m.Name)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "  champion\t%s\n", m.Champion.Spec)
	if m.Challenger == nil {
		fmt.Fprintf(t, "  challenger\tnone: requests pass through, unrecorded\n")
		_ = t.Flush()
		return b.String()
	}
	c, s, r := m.Challenger, m.Shadow, m.Breaker
	fmt.Fprintf(t, "  challenger\t%s\n", c.Spec)
	fmt.Fprintf(t, "  live calls\t%s each, at most %d at once; the champion answers where it fails\n", c.Timeout, c.MaxInFlight)
	fmt.Fprintf(t, "  copies\tof %s of the requests, %s each, at most %d at once\n", s.Sample, s.Timeout, s.MaxInFlight)
	fmt.Fprintf(t, "  split by\t%s\n", splitBy(m.RoutingKey))
	fmt.Fprintf(t, "  breaker\ttrips after %d failures in a row, or at %s failures of at least %d calls in %s\n",
		r.ConsecutiveFailures, percent(100*r.FailureRatio), r.MinRequests, r.Window)
	for _, rule := range m.Compare {
		fmt.Fprintf(t, "  compare\t%s\n", compareInWords(rule))
	}
	if !m.Record.Everything() {
		fmt.Fprintf(t, "  records\t%s\n", recordInWords(m.Record))
	}
	explainRules(t, m.Rules)
	_ = t.Flush()
	b.WriteString("  plan\n")
	for i, s := range planInWords(m.Configured()) {
		fmt.Fprintf(&b, "    %d. %s\n", i+1, s.words)
		for _, o := range s.overrides {
			fmt.Fprintf(&b, "       here %s\n", o)
		}
	}
	return b.String()
}

// explainRules writes how the rollout is judged.
func explainRules(t io.Writer, r rollout.Rules) {
	if len(r.Gates) > 0 {
		fmt.Fprintf(t, "  alpha\t%s\n", alphaInWords(r))
	}
	for _, g := range r.Gates {
		fmt.Fprintf(t, "  gate\t%s\n", gateInWords(g))
	}
	if len(r.Segments) > 0 {
		fmt.Fprintf(t, "  segments\t%s\n", segmentsInWords(r))
	}
	for _, in := range r.Inputs {
		fmt.Fprintf(t, "  input\t%s\n", inputsInWords(in))
	}
}

func splitBy(sources []config.KeySource) string {
	if len(sources) == 0 {
		return "the gateway's own request id: a user may meet both arms"
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.String())
	}
	return strings.Join(names, ", else ") + ", else the gateway's own request id"
}

func compareInWords(r rollout.CompareRule) string {
	if r.Kind == rollout.CompareScore {
		return fmt.Sprintf("%s as score, within %v + %v × |champion|", r.Output, r.ATol, r.RTol)
	}
	return fmt.Sprintf("%s as %s", r.Output, r.Kind)
}

// recordInWords says what is not recorded.
func recordInWords(p rollout.RecordPolicy) string {
	parts := []string{"inputs: " + string(p.Inputs), "outputs: " + string(p.Outputs)}
	for _, t := range p.Tensors {
		parts = append(parts, fmt.Sprintf("%s: %s", t.Name, t.As))
	}
	if len(p.RedactParameters) > 0 {
		parts = append(parts, "without parameters "+strings.Join(p.RedactParameters, " "))
	}
	if p.Sample < rollout.FullWeight {
		parts = append(parts, "payloads of "+p.Sample.String())
	}
	return strings.Join(parts, ", ")
}

// planned is a resting place of the plan, in words.
type planned struct {
	words string
	// overrides are the gates that hold there instead of the model's.
	overrides []string
}

// planInWords has each resting place and the end.
func planInWords(m rollout.Configured) []planned {
	if len(m.Plan) == 0 {
		return []planned{{words: "copies only, until an operator acts"}}
	}
	var out []planned
	mode, part := rollout.ModeShadow, "copies only"
	for i, s := range m.Plan {
		if s.Kind == rollout.StepSetWeight {
			mode, part = rollout.ModeCanary, "the challenger answers "+s.Weight.String()
			continue
		}
		p := planned{words: part + ", until `understudy resume`"}
		if !s.Manual {
			p.words = part + ", " + endInWords(m, i, mode)
		}
		for _, g := range s.Gates {
			p.overrides = append(p.overrides, overrideInWords(g, mode))
		}
		out = append(out, p)
	}
	return append(out, planned{words: "promoted: the challenger answers everything"})
}

// endInWords says what ends a step that ends by itself.
func endInWords(m rollout.Configured, step int, mode rollout.Mode) string {
	s := m.Plan[step]
	unit := "requests"
	if mode == rollout.ModeShadow {
		unit = "pairs of predictions"
	}
	words := "for at least " + count(s.MinRequests) + " " + unit
	if s.Bake > 0 {
		words = "for at least " + span(s.Bake) + " and " + count(s.MinRequests) + " " + unit
	}
	gates := rollout.State{Plan: m.Plan, Rules: m.Rules}.GatesAt(step)
	if slices.ContainsFunc(gates, func(g rollout.Gate) bool { return g.In(mode) && !g.DryRun }) {
		words += ", and until the gates pass"
	}
	switch {
	case s.MaxDuration == 0:
		return words
	case s.OnMaxDuration == rollout.RollBack:
		return words + "; after " + span(s.MaxDuration) + " it is rolled back"
	}
	return words + "; after " + span(s.MaxDuration) + " it is held for an operator"
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

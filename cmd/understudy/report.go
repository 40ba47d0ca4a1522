package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/understudy-serving/understudy/report"
)

// reported is what the user asks to be reported.
type reported struct {
	config, topic, file string
	brokers             []string
	group, state        string
	model               string
	since, until        moment
	follow              bool
	worst               int
	saveEach            time.Duration
	out                 reportFormat
}

func reportCommand() *cobra.Command {
	w := &reported{out: reportFormat(formatTable)}
	cmd := &cobra.Command{
		Use:   "report (--brokers HOST:PORT --topic NAME | --config FILE | --from-file FILE)",
		Short: "Compare champion and challenger on the logged records, after the fact",
		Long: `Read the records of a topic or a file, compare both predictions in each, and say what was
found: agreement and its interval, classes and scores, drift, latencies, errors, segments worst
first, the records that differ most, and what the gates of the config make of it. It is the
gateway's own code that compares and judges, and nothing that serves is contacted.

Where a record has both predictions, they are compared anew, by the rules of --config; without
them by defaults. Where its payloads are cut or redacted, its own comparison counts.

It ends where the topic ended when it began (--follow goes on). Memory does not grow with the
topic. A record that was delivered twice counts once. With --state it can be interrupted or
killed, and goes on when it is started again: its folder keeps counts and offsets together. The
offsets are also committed to --group, for those who watch its lag. Without --state it reads
from the beginning, or from --since, and commits nothing.

Ctrl-C prints what is known so far.`,
		Example: `  understudy report --config understudy.yaml
  understudy report --config understudy.yaml --since 24h -o html > report.html
  understudy report --brokers kafka:9092 --topic understudy.predictions -o json | jq .summary
  understudy report --config understudy.yaml --state /var/lib/understudy/report
  kcat -b kafka:9092 -t understudy.predictions -C -e -f '%R%s' | understudy report --from-file -`,
		Args: exactly(0, "no arguments"),
	}
	w.bind(cmd.Flags())
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagFilename("from-file")
	_ = cmd.MarkFlagDirname("state")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "html"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process at once
		return w.report(ctx, cmd)
	}
	return cmd
}

func (w *reported) bind(f *pflag.FlagSet) {
	f.StringVarP(&w.config, "config", "c", "", "config `file` with brokers and topic, compare rules, gates and segments, as of serve")
	f.StringSliceVar(&w.brokers, "brokers", nil, "bootstrap `addresses`, host:port, in place of the config's; TLS and SASL are the config's")
	f.StringVar(&w.topic, "topic", "", "`name` of the topic, in place of the config's")
	f.StringVar(&w.file, "from-file", "", "`file` of records in place of a topic, - for standard input: length-delimited protobuf, or JSON lines")
	f.StringVar(&w.state, "state", "", "`folder` that keeps counts and offsets, to go on from")
	f.StringVar(&w.group, "group", "understudy-report", "consumer group to which the offsets in --state are committed")
	f.StringVar(&w.model, "model", "", "`name` of the only model to report")
	f.Var(&w.since, "since", "first `time` of requests, such as 2026-11-23, 2026-11-23T06:28:00Z, or 24h before now")
	f.Var(&w.until, "until", "`time` before which requests are reported, likewise")
	f.BoolVar(&w.follow, "follow", false, "go on behind the end of the topic, until Ctrl-C")
	f.IntVar(&w.worst, "worst", 20, "`number` of records to name that differ most, up to 1000")
	f.DurationVar(&w.saveEach, "save-each", 5*time.Second, "time between two saves of --state")
	f.VarP(&w.out, "output", "o", "how to print: table for people at a terminal, html for a browser, json for programs")
}

func (w *reported) validate() error {
	fromTopic := w.config != "" && w.file == "" || len(w.brokers) > 0 || w.topic != ""
	switch {
	case !fromTopic && w.file == "":
		return errors.New("want --config FILE, or --brokers and --topic, or --from-file FILE")
	case w.file != "" && (len(w.brokers) > 0 || w.topic != ""):
		return errors.New("want either --from-file or --brokers and --topic")
	case w.file != "" && (w.state != "" || w.follow):
		return errors.New("--state and --follow are for topics; a file is read from its beginning to its end")
	case w.config == "" && fromTopic && (len(w.brokers) == 0 || w.topic == ""):
		return errors.New("want both --brokers and --topic, or --config FILE")
	case w.state != "" && (w.since.ago || w.until.ago):
		return errors.New("--state goes on with what was asked for before: name --since and --until as times, not as how long ago")
	case !w.until.IsZero() && !w.since.Before(w.until.Time):
		return fmt.Errorf("--until %s is not after --since %s", w.until.String(), w.since.String())
	case w.worst < 1 || w.worst > 1000:
		return fmt.Errorf("--worst %d: want 1 to 1000", w.worst)
	case w.saveEach < 100*time.Millisecond || w.saveEach > time.Hour:
		return fmt.Errorf("--save-each %s: want 100ms to 1h", w.saveEach)
	}
	return nil
}

// report reads and prints. What was read before an error is printed too.
func (w *reported) report(ctx context.Context, cmd *cobra.Command) error {
	if err := w.validate(); err != nil {
		return err
	}
	run, name, done, err := w.prepare(cmd)
	if err != nil {
		return err
	}
	defer done()
	if err := run.Begin(ctx); err != nil {
		return err
	}
	progress := startReading(cmd.ErrOrStderr(), run)
	failed := run.Read(ctx)
	progress.end()
	result := run.Summarize(name)
	if err := w.print(cmd.OutOrStdout(), &result); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("not everything was read: %w", failed)
	}
	return nil
}

func (w *reported) print(out io.Writer, r *report.Result) error {
	switch w.out {
	case reportFormat(formatJSON):
		return printIndented(out, r)
	case formatHTML:
		return r.WriteHTML(out, time.Now())
	}
	return r.WriteTable(out)
}

// reportFormat is the value of report's -o.
type reportFormat string

const formatHTML reportFormat = "html"

// String implements pflag.Value.
func (f *reportFormat) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *reportFormat) Type() string { return "table|json|html" }

// Set implements pflag.Value.
func (f *reportFormat) Set(s string) error {
	switch reportFormat(s) {
	case reportFormat(formatTable), reportFormat(formatJSON), formatHTML:
		*f = reportFormat(s)
		return nil
	}
	return fmt.Errorf("%q: want table, json or html", s)
}

// moment is a time, or a duration before now.
type moment struct {
	time.Time
	text string
	// ago says that it was given as how long ago.
	ago bool
}

// String implements pflag.Value.
func (m *moment) String() string { return m.text }

// Type implements pflag.Value.
func (m *moment) Type() string { return "time" }

// Set implements pflag.Value.
func (m *moment) Set(s string) error {
	m.text, m.ago = s, false
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		m.Time, m.ago = time.Now().Add(-d), true
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			m.Time = t
			return nil
		}
	}
	return fmt.Errorf("want a time in UTC, such as 2026-11-23 or 2026-11-23T06:28:00Z, or how long ago, such as 24h")
}

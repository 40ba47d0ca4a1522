package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/report/kafkasource"
)

// report reads what `understudy report` would, keeps its page, and returns what to say of it.
// Where the report has other figures than the demo's own consumer, it notes a doubt.
func (s *story) report(ctx context.Context, m *Summary) (lines []string, err error) {
	result, err := readReport(ctx, s.gateway.config)
	if err != nil {
		return nil, err
	}
	if m.Report, err = s.writePage(result); err != nil {
		return nil, err
	}
	m.doubts = append(m.doubts, matchReport(result, m.acts()))
	return s.aboutReport(result, m.Report)
}

// readReport reads the topic of a config to its end.
func readReport(ctx context.Context, cfg *config.Config) (*report.Result, error) {
	o, err := app.KafkaOptions(cfg.Sink)
	if err != nil {
		return nil, err
	}
	source, err := kafkasource.New(o)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	rules := map[string]report.Rules{}
	for _, m := range cfg.Models {
		rules[m.Name] = report.Rules{Compare: m.Compare, Judge: m.Rules}
	}
	run := report.Run{Source: source, Options: report.Options{Models: rules, Worst: 20}}
	if err := run.Begin(ctx); err != nil {
		return nil, err
	}
	if err := run.Read(ctx); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // to be interrupted is no error of a report
	}
	result := run.Summarize("topic " + o.Topic + " at " + strings.Join(o.Brokers, ", "))
	return &result, nil
}

// writePage writes the report as HTML where it outlives the demo, and returns the path.
func (s *story) writePage(r *report.Result) (path string, err error) {
	var page *os.File
	if s.Dir != "" {
		page, err = os.Create(filepath.Join(s.Dir, "report.html"))
	} else {
		page, err = os.CreateTemp("", "understudy-report-*.html")
	}
	if err != nil {
		return "", err
	}
	if err := errors.Join(r.WriteHTML(page, time.Now()), page.Close()); err != nil {
		return "", err
	}
	return filepath.Abs(page.Name())
}

func (s *story) aboutReport(r *report.Result, path string) ([]string, error) {
	var brief bytes.Buffer
	err := r.WriteBrief(&brief)
	lines := []string{s.Screen.Bold("What the records say, by understudy report"), ""}
	for line := range strings.Lines(brief.String()) {
		lines = append(lines, "  "+strings.TrimRight(line, " \n"))
	}
	return append(lines, "", "  All of it, as a page for a browser: file://"+path, ""), err
}

// matchReport returns an error for each model of which the report has other figures than
// the demo's own consumer of the topic.
func matchReport(r *report.Result, acts []*act) error {
	reported := map[string]topicFigures{}
	for i := range r.Rollouts {
		one := &r.Rollouts[i]
		reported[one.Model] = topicFigures{records: int(one.Records), pairs: int(one.Agree.Compared), disagree: int(one.Agree.Disagree)}
	}
	var errs []error
	for _, a := range acts {
		want := topicFigures{records: a.topic.records, pairs: a.topic.pairs, disagree: a.topic.disagree}
		if got := reported[a.model]; got != want {
			errs = append(errs, fmt.Errorf("the report has %d records of %s, %d of %d pairs disagree: want %d, and %d of %d",
				got.records, a.model, got.disagree, got.pairs, want.records, want.disagree, want.pairs))
		}
	}
	return errors.Join(errs...)
}

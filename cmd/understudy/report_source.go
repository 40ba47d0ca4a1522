package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/report/kafkasource"
	"github.com/understudy-serving/understudy/sink"
)

// prepare makes a run of what is asked for, and a name for its source. done lets go of what
// it holds.
func (w *reported) prepare(cmd *cobra.Command) (run *report.Run, name string, done func(), err error) {
	var cfg *config.Config
	if w.config != "" {
		if cfg, err = loadConfig(w.config); err != nil {
			return nil, "", nil, err
		}
	}
	run = &report.Run{Options: w.options(cfg), Follow: w.follow, SaveEach: w.saveEach}
	if w.file != "" {
		name, done, err = w.openFile(cmd.InOrStdin(), run)
		return run, name, done, err
	}
	name, done, err = w.openTopic(cmd, cfg, run)
	return run, name, done, err
}

func (w *reported) options(cfg *config.Config) report.Options {
	o := report.Options{Model: w.model, Since: w.since.Time, Until: w.until.Time, Worst: w.worst}
	if cfg == nil {
		return o
	}
	o.Models = map[string]report.Rules{}
	for _, m := range cfg.Models {
		o.Models[m.Name] = report.Rules{Compare: m.Compare, Judge: m.Rules}
	}
	return o
}

func (w *reported) openFile(stdin io.Reader, run *report.Run) (name string, done func(), err error) {
	if w.file == "-" {
		run.Source = report.NewFile(stdin, 0)
		return "standard input", func() {}, nil
	}
	f, err := os.Open(w.file)
	if err != nil {
		return "", nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return "", nil, err
	}
	run.Source = report.NewFile(f, info.Size())
	return w.file, func() { _ = f.Close() }, nil // only read
}

// kafka is where the flags and the config say that the records are.
func (w *reported) kafka(cfg *config.Config) (o sink.KafkaOptions, err error) {
	if cfg != nil && cfg.Sink != nil {
		if o, err = app.KafkaOptions(cfg.Sink); err != nil {
			return o, fmt.Errorf("%s: %w", w.config, err)
		}
	}
	if len(w.brokers) > 0 {
		o.Brokers = w.brokers
	}
	if w.topic != "" {
		o.Topic = w.topic
	}
	if len(o.Brokers) == 0 || o.Topic == "" {
		return o, fmt.Errorf("%s: sink.kafka: the file configures none; name --brokers and --topic", w.config)
	}
	return o, nil
}

func (w *reported) openTopic(cmd *cobra.Command, cfg *config.Config, run *report.Run) (name string, done func(), err error) {
	o, err := w.kafka(cfg)
	if err != nil {
		return "", nil, err
	}
	topic, err := kafkasource.New(o)
	if err != nil {
		return "", nil, err
	}
	topic.Since = w.since.Time
	warn := warner(cmd.ErrOrStderr())
	topic.Retrying = func(partition int, err error) { warn("partition %d: %v; trying again", partition, err) }
	run.Source, done = topic, topic.Close
	name = "topic " + o.Topic + " at " + strings.Join(o.Brokers, ", ")
	if w.state == "" {
		return name, done, nil
	}
	if run.State, err = report.OpenState(w.state, w.settings(&run.Options, o.Topic)); err != nil {
		return "", nil, fmt.Errorf("--state: %w", err)
	}
	run.Committed = func(ctx context.Context, next map[int]int64) error {
		if err := topic.Commit(ctx, w.group, next); err != nil && ctx.Err() == nil {
			warn("%v; the state is saved all the same", err)
		}
		return nil // the offsets that count are in the state
	}
	return name, func() { _ = run.State.Close(); topic.Close() }, nil
}

// settings name all that decides what is counted. A time before now is another one each
// time, so its text counts.
func (w *reported) settings(o *report.Options, topic string) string {
	text, _ := json.Marshal([]any{topic, o.Models, o.Model, w.since.text, w.until.text, o.Worst}) // strings and numbers
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// warner writes lines, at most one a second.
func warner(w io.Writer) func(format string, args ...any) {
	var mu sync.Mutex
	var last time.Time
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(last) >= time.Second {
			last = now
			fmt.Fprintln(w, oneLine(fmt.Sprintf(format, args...)))
		}
	}
}

// readingBar shows on a terminal how far a run is.
type readingBar struct {
	stop  chan struct{}
	ended chan struct{}
}

func startReading(out io.Writer, run *report.Run) *readingBar {
	r := &readingBar{make(chan struct{}), make(chan struct{})}
	if !isTerminal(out) {
		close(r.ended)
		return r
	}
	go r.show(out, run)
	return r
}

func (r *readingBar) show(out io.Writer, run *report.Run) {
	defer close(r.ended)
	began := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			fmt.Fprint(out, "\r"+eraseLine)
			return
		case now := <-tick.C:
			fmt.Fprint(out, "\r"+eraseLine+readingLine(run.Progress(), now.Sub(began)))
		}
	}
}

// readingLine is such as "1,234,000 messages, 182,000 a second, 45%, 8s left".
func readingLine(p report.Progress, passed time.Duration) string {
	line := fmt.Sprintf("%s messages, %s a second", count(p.Messages), count(int64(float64(p.Messages)/max(passed.Seconds(), 1e-3))))
	if p.Share < 1e-4 { // also where nobody knows how much there is
		return line
	}
	left := time.Duration(float64(passed) * (1 - p.Share) / p.Share)
	return line + fmt.Sprintf(", %s, %s left", percent(100*p.Share), span(left))
}

func (r *readingBar) end() {
	close(r.stop)
	<-r.ended
}

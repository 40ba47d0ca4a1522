package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/understudy-serving/understudy/rollout"
)

// AuditOptions are an audit log's dependencies and settings.
type AuditOptions struct {
	// Path is the JSON lines file, made with mode 0600; empty writes entries to Logger.
	Path string
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Now is time.Now if nil.
	Now func() time.Time
	// Registerer takes understudy_audit_failures_total; nil keeps it to itself.
	Registerer prometheus.Registerer
}

// Audit keeps who changed what, when, why and on what evidence, and who was refused. An
// entry is on disk when its call returns. It is safe for concurrent use.
type Audit struct {
	opts     AuditOptions
	failures prometheus.Counter

	mu   sync.Mutex
	file *os.File // nil after a failure: the next entry opens it again
	// torn says that the file may end within a line.
	torn bool
}

// Entry is one line of the audit log.
type Entry struct {
	Time time.Time `json:"time"`
	// Actor is a token's name, "local", "gateway", "config", or "unknown".
	Actor string `json:"actor"`
	// Remote is the operator's network address; empty for the gateway's own changes.
	Remote string `json:"remote,omitempty"`
	// Event is the rollout.EventKind, or "read" for a refused read.
	Event  string `json:"event"`
	Model  string `json:"model,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Asked is what a refused event wanted, such as "canary 5%".
	Asked string `json:"asked,omitempty"`
	// Outcome is "accepted" or "refused"; Refusal says why and Code as which gRPC code.
	Outcome string `json:"outcome"`
	Refusal string `json:"refusal,omitempty"`
	Code    string `json:"code,omitempty"`
	// Suppressed counts refusals since the entry before that were too many to write.
	Suppressed int64 `json:"suppressed,omitempty"`
	// Before is absent for a new model; After for a refusal.
	Before   *Standing `json:"before,omitempty"`
	After    *Standing `json:"after,omitempty"`
	Evidence *Evidence `json:"evidence,omitempty"`
}

// Standing is where a rollout stood.
type Standing struct {
	Revision uint64  `json:"revision"`
	Mode     string  `json:"mode"`
	Percent  float64 `json:"weight_percent"`
	Step     int     `json:"step"`
	Paused   bool    `json:"paused"`
	// Challenger is "model:version at target".
	Challenger string `json:"challenger,omitempty"`
}

// The outcomes of an Entry.
const (
	Accepted = "accepted"
	Refused  = "refused"
)

const (
	maxReason = 1024
	maxField  = 256
)

// OpenAudit opens the file for appending. It fails where the file can't be written.
func OpenAudit(opts AuditOptions) (*Audit, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	a := &Audit{opts: opts, failures: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "understudy_audit_failures_total", Help: "Audit entries that could not be written."})}
	if opts.Registerer != nil {
		if err := opts.Registerer.Register(a.failures); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
	}
	if opts.Path == "" {
		return a, nil
	}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return a, nil
}

// open replaces the file by the one that Path names now; on failure all stays.
func (a *Audit) open() error {
	f, err := os.OpenFile(a.opts.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.torn = false
	if info.Mode().IsRegular() && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err != nil {
			return errors.Join(err, f.Close())
		}
		a.torn = last[0] != '\n'
	}
	if a.file != nil {
		_ = a.file.Close() // all of it is synced already
	}
	a.file = f
	return nil
}

// Reopen goes on in the file that the path names now, for log rotation. On failure the
// old file stays in use.
func (a *Audit) Reopen() error {
	if a.opts.Path == "" {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.open(); err != nil {
		return fmt.Errorf("audit: reopening: %w", err)
	}
	return nil
}

// Close closes the file. Entries written later open it again.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	err := a.file.Close()
	a.file = nil
	return err
}

// Change writes an accepted change: from before to after by e, on the evidence of v. An
// error means that the entry may not be on disk. The entry's time is the change's own.
//
// The conductor audits a change before it stores it; where an operator's can't be stored
// then, a refusal of the same event follows.
func (a *Audit) Change(before, after rollout.State, e rollout.Event, v rollout.Figures) error {
	entry := Entry{Actor: e.Actor, Remote: e.Remote, Event: string(e.Kind), Model: after.Model, Reason: e.Reason,
		Outcome: Accepted, After: standing(after), Evidence: evidenceOf(v)}
	if len(after.Changes) > 0 && after.Changes[0].Revision == after.Revision {
		entry.Time = after.Changes[0].Time
	}
	if before.Revision > 0 {
		entry.Before = standing(before)
	}
	return a.Write(entry)
}

func standing(s rollout.State) *Standing {
	out := &Standing{Revision: s.Revision, Mode: s.Mode.String(), Percent: s.Weight.Percent(), Step: s.Step, Paused: s.Paused}
	if s.HasChallenger() {
		out.Challenger = s.Challenger.String()
	}
	return out
}

// Write appends an entry and waits until it is on disk. Time is filled in if zero; long
// fields are cut.
func (a *Audit) Write(e Entry) error {
	if e.Time.IsZero() {
		e.Time = a.opts.Now()
	}
	e.Time = e.Time.UTC()
	e.Reason, e.Refusal = cut(e.Reason, maxReason), cut(e.Refusal, maxReason)
	e.Actor, e.Remote, e.Model, e.Asked = cut(e.Actor, maxField), cut(e.Remote, maxField), cut(e.Model, maxField), cut(e.Asked, maxField)
	line, err := json.Marshal(e)
	if err != nil {
		return a.failed(fmt.Errorf("audit: encoding an entry: %w", err))
	}
	if a.opts.Path == "" {
		a.opts.Logger.Info("audit", "entry", json.RawMessage(line))
		return nil
	}
	if err := a.append(append(line, '\n')); err != nil {
		return a.failed(fmt.Errorf("audit: %w", err))
	}
	return nil
}

func (a *Audit) failed(err error) error {
	a.failures.Inc()
	return err
}

// append writes a line and syncs. After a failure the file is not trusted again: the
// next entry opens it anew, on a line of its own.
func (a *Audit) append(line []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	if a.torn {
		line = append([]byte{'\n'}, line...)
	}
	_, err := a.file.Write(line)
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		_ = a.file.Close()
		a.file = nil
		return err
	}
	a.torn = false
	return nil
}

// cut bounds s to most characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

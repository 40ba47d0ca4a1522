package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/demo/models"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// Options say how the story is told. The zero value is the interactive one, told to nobody.
type Options struct {
	// Once ends the story after act 3; else light traffic goes on until the context ends.
	Once bool
	// GRPCPort, AdminPort and KafkaPort are on 127.0.0.1; 0 lets the demo choose.
	GRPCPort, AdminPort, KafkaPort int
	// Step is the time at each step of the plans; 0 means 5 s, and 1.5 s with Once.
	Step time.Duration
	// Rate is the requests a second in the acts; 0 means 200.
	Rate int
	// Dir, a new or empty folder, keeps the config file, state, audit log, gateway's log and report; empty means a
	// temporary folder that is removed at the end, all but the report.
	Dir string
	// Command is how the audience runs understudy, for the commands to try next; empty
	// means "understudy".
	Command string
	// Screen may be nil.
	Screen *Screen
}

func (o Options) withDefaults() Options {
	if o.Step == 0 {
		o.Step = 5 * time.Second
		if o.Once {
			o.Step = 1500 * time.Millisecond
		}
	}
	if o.Rate == 0 {
		o.Rate = 200
	}
	if o.Command == "" {
		o.Command = "understudy"
	}
	if o.Screen == nil {
		o.Screen = &Screen{}
	}
	return o
}

// look is how often the story looks at the rollout.
const look = 100 * time.Millisecond

// story is one performance.
type story struct {
	Options
	*house
	rows []models.Row
	// told is the last revision of each model that the audience has heard of.
	told map[string]uint64
}

// Run plays the acts and returns what was measured. A story that could not be played
// to its end is an error, and so, with Once, is one that was interrupted; whether the
// figures are as they should be is for Summary.Check to say.
func Run(ctx context.Context, o Options) (*Summary, error) {
	o = o.withDefaults()
	rows, err := models.HeldOut()
	if err != nil {
		return nil, err
	}
	interrupted := func() bool { return errors.Is(ctx.Err(), context.Canceled) }
	h, err := openHouse(ctx, o)
	switch {
	case err != nil && interrupted() && !o.Once:
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer h.close()
	s := &story{Options: o, house: h, rows: rows, told: map[string]uint64{}}
	playing, cancel := h.gateway.watch(ctx)
	defer cancel()
	summary, err := s.play(playing)
	s.Screen.Leave()
	switch {
	case err != nil && interrupted():
		s.Screen.Say("", "  The curtain falls early.", "")
		if !o.Once {
			return summary, nil
		}
	case err != nil || summary.Check() != nil:
		h.keep = true
		s.Screen.Say("  The gateway's log, config and state are kept in "+h.dir, "")
	}
	return summary, err
}

func (s *story) play(ctx context.Context) (*Summary, error) {
	s.prologue()
	first, err := s.playAct1(ctx)
	if err != nil {
		return nil, fmt.Errorf("act 1: %w", err)
	}
	second, err := s.playAct2(ctx)
	if err != nil {
		return nil, fmt.Errorf("act 2: %w", err)
	}
	a, b, err := s.playAct3(ctx)
	if err != nil {
		return nil, fmt.Errorf("act 3: %w", err)
	}
	summary, err := s.sumUp(ctx, first, second, a, b)
	if err != nil {
		return nil, err
	}
	said, err := s.report(ctx, summary)
	if err != nil {
		return summary, fmt.Errorf("report: %w", err)
	}
	s.Screen.Say(append(summary.table(s.Screen), said...)...)
	if s.Once {
		return summary, nil
	}
	return summary, s.epilogue(ctx)
}

func (s *story) prologue() {
	s.Screen.Say(
		"", s.Screen.Bold("Understudy, a play in three acts"), "",
		"  The cast, all real, all on this machine:",
		"    champion     a logistic regression, version "+championVersion,
		"    challenger   gradient-boosted trees, version "+challengerVersion,
		"    gateway      OIP gRPC on "+s.gateway.grpcAddr()+", admin on "+s.gateway.adminAddr(),
		"    Kafka        "+s.broker.addr()+", topic "+topic,
		"    the config   "+s.configPath,
		fmt.Sprintf("  Clients ask about %d patients that neither model was trained on, %d times a second, as %s users of %d clinics.",
			len(s.rows), s.Rate, count(users), len(clinics())),
	)
}

// traffic starts clients of a model; stop ends them and waits for their last answer.
func (s *story) traffic(model string, perSecond, keep int) (c *clients, stop func()) {
	c = &clients{stub: s.stub, model: model, rows: s.rows, keep: keep}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.run(ctx, perSecond) })
	return c, func() { cancel(); running.Wait() }
}

// follow shows a model's rollout until done says so, and tells every change of it. what
// says, for the error after the time within, what it was waiting for.
func (s *story) follow(ctx context.Context, c *clients, what string, within time.Duration, done func(*adminv1.Rollout) bool) (*adminv1.Rollout, error) {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		r, err := s.operator.rollout(ctx, c.model)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		s.tell(r)
		p := panel{rollout: r, users: c.figures(), records: s.reader.count()}
		s.Screen.Show(p.lines(), p.short(), 2*time.Second)
		if done(r) {
			return r, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-deadline.C:
			return nil, fmt.Errorf("waited %s for %s; %s is in %s%s", within, what, c.model, modeName(r), waiting(r))
		}
	}
}

// tell says what happened to a rollout since the last time.
func (s *story) tell(r *adminv1.Rollout) {
	events := r.GetEvents() // newest first
	for i := len(events) - 1; i >= 0; i-- {
		e := events[i]
		if e.GetRevision() <= s.told[r.GetModel()] {
			continue
		}
		s.told[r.GetModel()] = e.GetRevision()
		s.Screen.Say(fmt.Sprintf("  %s  %s  %s", e.GetTime().AsTime().Local().Format(time.TimeOnly), s.eventMode(e), s.eventText(e)))
	}
}

// eventMode is the mode that an event led to, in a column.
func (s *story) eventMode(e *adminv1.Event) string {
	name := fmt.Sprintf("%-12s", modeName(&adminv1.Rollout{Mode: e.GetMode(), WeightPercent: e.GetWeightPercent()}))
	switch e.GetMode() {
	case promoted:
		return s.Screen.Good(name)
	case rolledBack:
		return s.Screen.Bad(name)
	}
	return s.Screen.Bold(name)
}

// eventText says what an event means for the users.
func (s *story) eventText(e *adminv1.Event) string {
	switch e.GetMode() {
	case shadow:
		return "the champion answers; the challenger rehearses on a copy of every request"
	case canary:
		return fmt.Sprintf("the challenger answers %s of the users, the same ones every time", points(e.GetWeightPercent()))
	case promoted:
		return "the challenger answers everyone"
	case rolledBack:
		return "the challenger gets nothing more; " + decided(e)
	}
	return e.GetReason()
}

// inMode is a condition for follow.
func inMode(m adminv1.Mode) func(*adminv1.Rollout) bool {
	return func(r *adminv1.Rollout) bool { return r.GetMode() == m }
}

// decided says who took a challenger off, and why. A gate's reason begins with its name.
func decided(e *adminv1.Event) string {
	if e.GetActor() == gateActor {
		return e.GetReason()
	}
	return e.GetActor() + ": " + e.GetReason()
}

// turn returns the event that led to the mode that the rollout is in.
func turn(r *adminv1.Rollout) *adminv1.Event {
	for _, e := range r.GetEvents() {
		if e.GetMode() == r.GetMode() {
			return e
		}
	}
	return nil
}

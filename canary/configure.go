package canary

import (
	"context"
	"errors"
	"fmt"

	"github.com/understudy-serving/understudy/rollout"
)

// errSlow is why a model was not settled in Configure.
var errSlow = errors.New("the store is slow; tried again at once and then every second")

// Configure takes the models of the config file over, at the start and after a change
// of the file, and publishes each of them before it returns. Models that the file has
// no more are no longer played here; their stored states stay.
//
// Only invalid settings are errors, and then nothing has changed. A store that answers
// promptly has its states played from the first publication on. For one that does not,
// nobody waits beyond Options.SettleWithin: a model that is already played goes on as it
// was, and another one is played by its champion alone, until Run reaches the store.
func (c *Conductor) Configure(ctx context.Context, all []Settings) error {
	if err := validate(all); err != nil {
		return err
	}
	c.configuring.Lock()
	defer c.configuring.Unlock()
	c.withdrawOthers(all)
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.SettleWithin, errSlow)
	defer cancel()
	for _, s := range all {
		m := c.enlist(s)
		if err := c.settle(ctx, m); err != nil {
			if ctx.Err() == nil { // else Run will tell the true reason, or have none
				c.tellUnsettled(m, err)
			}
			c.playOn(m)
			nudge(c.unsettled)
		}
	}
	return nil
}

func validate(all []Settings) error {
	seen := make(map[string]bool, len(all))
	for _, s := range all {
		switch {
		case s.Model == "":
			return errors.New("canary: a model without a name")
		case seen[s.Model]:
			return fmt.Errorf("canary: model %s: named twice", s.Model)
		case s.Champion == rollout.Spec{}:
			return fmt.Errorf("canary: model %s: no champion", s.Model)
		}
		if err := s.Plan.Validate(); err != nil {
			return fmt.Errorf("canary: model %s: plan: %w", s.Model, err)
		}
		seen[s.Model] = true
	}
	return nil
}

// enlist gives the model its settings, to be settled.
func (c *Conductor) enlist(s Settings) *model {
	c.mu.Lock()
	m := c.models[s.Model]
	if m == nil {
		m = newModel(s.Model)
		c.models[s.Model] = m
	}
	c.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.accrue(c.o.Elapsed())
	m.conf, m.settled, m.withdrawn, m.told = s, false, false, false
	return m
}

func (c *Conductor) withdrawOthers(all []Settings) {
	kept := make(map[string]bool, len(all))
	for _, s := range all {
		kept[s.Model] = true
	}
	for _, m := range c.all() {
		if kept[m.name] {
			continue
		}
		m.mu.Lock()
		if !m.withdrawn {
			m.accrue(c.o.Elapsed())
			m.withdrawn = true
			c.o.Logger.Info("model withdrawn: the file no longer names it", "model", m.name)
		}
		m.mu.Unlock()
	}
	c.news.tell()
}

// playOn publishes the model as it stands: by its champion alone where nothing is known.
func (c *Conductor) playOn(m *model) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.live.State
	if !m.loaded {
		s = rollout.State{Model: m.name, Mode: rollout.ModeChampion, Champion: m.conf.Champion}
	}
	c.show(m, s, restored{})
}

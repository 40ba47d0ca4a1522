package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/outcome"
)

// buildOutcomes opens the desk of outcomes where the file has one.
func (a *App) buildOutcomes() (err error) {
	if a.cfg.Outcomes == nil {
		return nil
	}
	o, err := outcomeOptions(a.cfg.Outcomes)
	if err != nil {
		return fmt.Errorf("outcomes: %w", err)
	}
	a.setHorizons(a.cfg)
	o.Horizons = func(model string) map[string]time.Duration { return (*a.horizons.Load())[model] }
	o.Logger, o.Registerer = a.log, a.registry
	a.outcomes, err = outcome.Open(o)
	return err
}

// outcomeOptions are the file's outcomes as the desk needs them, with their secrets read.
func outcomeOptions(s *config.Outcomes) (outcome.Options, error) {
	o := outcome.Options{Dir: s.Dir, KeyFile: s.KeyFile, Window: s.Window, MaxBytes: s.MaxBytes}
	k := s.Kafka
	if k == nil {
		return o, nil
	}
	secure, err := clientTLS(k.TLS)
	if err != nil {
		return o, fmt.Errorf("kafka.tls: %w", err)
	}
	secret, err := kafkaLogin(k.SASL)
	if err != nil {
		return o, err
	}
	login, err := secret.Login()
	if err != nil {
		return o, fmt.Errorf("kafka: %w", err)
	}
	o.Kafka = &outcome.KafkaOptions{Brokers: k.Brokers, Topic: k.Topic, Group: k.Group, TLS: secure, SASL: login}
	return o, nil
}

// horizons are the outcomes that each model's gates judge, and up to which age.
type horizons map[string]map[string]time.Duration

// setHorizons tells the desk which outcomes there are.
func (a *App) setHorizons(cfg *config.Config) {
	all := horizons{}
	for _, m := range cfg.Models {
		all[m.Name] = m.Rules.Outcomes()
	}
	a.horizons.Store(&all)
}

// reporting is the desk as the admin port needs it: a nil one is no desk.
func (a *App) reporting() admin.Outcomes {
	if a.outcomes == nil {
		return nil
	}
	return a.outcomes
}

// runOutcomes runs the desk until it is closed: it outlasts the calls, and those who report.
func (a *App) runOutcomes(serving *sync.WaitGroup) {
	if a.outcomes != nil {
		serving.Go(func() { a.outcomes.Run(context.Background()) })
	}
}

// outcomesEnd is what the desk gets for its end: Kafka's last words and an fsync.
const outcomesEnd = 2 * minFlush

// closeOutcomes closes the desk, once nobody issues, reports or reads any more.
func (a *App) closeOutcomes() error {
	if a.outcomes == nil {
		return nil
	}
	return within(outcomesEnd, a.outcomes.Close)
}

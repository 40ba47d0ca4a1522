package app

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/sink"
	"github.com/understudy-serving/understudy/spool"
)

func prepareAll(models []config.Model) ([]settings, error) {
	out := make([]settings, 0, len(models))
	for _, m := range models {
		s, err := prepare(m)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// conductorSettings are the file's models as the conductor needs them.
func conductorSettings(cfg *config.Config) []canary.Settings {
	out := make([]canary.Settings, 0, len(cfg.Models))
	for _, m := range cfg.Models {
		out = append(out, canary.Settings{
			Configured: m.Configured(),
			Breaker: canary.BreakerOptions{
				ConsecutiveFailures: int(m.Breaker.ConsecutiveFailures), FailureRatio: m.Breaker.FailureRatio,
				MinRequests: int(m.Breaker.MinRequests), Window: m.Breaker.Window, OpenFor: m.Breaker.OpenFor,
			},
		})
	}
	return out
}

// sinkOptions are the file's sink as the sink needs it, with its secrets read.
func sinkOptions(s *config.Sink) (sink.Options, error) {
	k, err := KafkaOptions(s)
	if err != nil {
		return sink.Options{}, err
	}
	o := sink.Options{MaxQueueBytes: s.MaxQueueBytes, Kafka: k}
	if d := s.Spool; d != nil {
		o.Disk = &spool.Options{Dir: d.Dir, MaxBytes: d.MaxBytes, Fsync: spool.Fsync(d.Fsync), Interval: d.Interval, Full: spool.Full(d.Full)}
	}
	return o, nil
}

// KafkaOptions are the file's Kafka as the sink needs it, with its secrets read.
func KafkaOptions(s *config.Sink) (sink.KafkaOptions, error) {
	k := s.Kafka
	secure, err := clientTLS(k.TLS)
	if err != nil {
		return sink.KafkaOptions{}, fmt.Errorf("kafka.tls: %w", err)
	}
	o := sink.KafkaOptions{
		Brokers: k.Brokers, Topic: k.Topic, DeadLetterTopic: k.DeadLetterTopic, Encoding: k.Encoding, Compression: k.Compression,
		TLS: secure, MaxRecordBytes: int(k.MaxRecordBytes),
	}
	o.SASL, err = kafkaLogin(k.SASL)
	return o, err
}

// kafkaLogin is the file's SASL with the password read.
func kafkaLogin(s *config.SASL) (sink.SASL, error) {
	if s == nil {
		return sink.SASL{}, nil
	}
	secret, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return sink.SASL{}, fmt.Errorf("kafka.sasl.passwordFile: %w", err)
	}
	return sink.SASL{Mechanism: strings.ToLower(s.Mechanism), Username: s.Username, Password: strings.TrimRight(string(secret), "\r\n")}, nil
}

// Reload takes over another configuration: models, their arms, plans and breakers. All
// that can fail is done first; on an error the old configuration keeps serving.
// Listeners, limits, sink, store, outcomes and admin settings need a restart.
func (a *App) Reload(cfg *config.Config) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	// Whoever rotates the audit log reloads, be it with the same configuration.
	if err := a.audit.Reopen(); err != nil {
		a.log.Error("the audit log can't be opened anew; changes are refused until it can", "error", err)
	}
	if err := a.reloadable(cfg); err != nil {
		return err
	}
	models, err := prepareAll(cfg.Models)
	if err != nil {
		return err
	}
	a.setPolicies(cfg) // first, so that nothing is recorded that shall not be
	before := a.routes.configure(models)
	if err := a.conductor.Configure(context.Background(), conductorSettings(cfg)); err != nil {
		a.routes.configure(before)
		a.setPolicies(a.cfg)
		return err
	}
	a.cfg = cfg
	a.setHorizons(cfg)
	return nil
}

// reloadable names the first setting that can't change while the process runs.
func (a *App) reloadable(cfg *config.Config) error {
	fixed := []struct {
		name     string
		old, new any
	}{
		{"listen", a.cfg.Listen, cfg.Listen},
		{"limits", a.cfg.Limits, cfg.Limits},
		{"reflection", a.cfg.Reflection, cfg.Reflection},
		{"sink", a.cfg.Sink, cfg.Sink},
		{"store", a.cfg.Store, cfg.Store},
		{"outcomes", a.cfg.Outcomes, cfg.Outcomes},
		{"admin", a.cfg.Admin, cfg.Admin},
		{"shutdown", a.cfg.Shutdown, cfg.Shutdown},
	}
	for _, f := range fixed {
		if !reflect.DeepEqual(f.old, f.new) {
			return fmt.Errorf("%s changed, which needs a restart; the old configuration keeps serving", f.name)
		}
	}
	return nil
}

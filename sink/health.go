package sink

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// condition is how things stand with Kafka, as far as people must act differently.
type condition string

const (
	conditionUp           condition = "up"
	conditionDown         condition = "down"
	conditionNoTopic      condition = "no_topic"
	conditionUnauthorized condition = "unauthorized"
	conditionTLS          condition = "tls"
)

// health follows Kafka's condition and logs its changes: once each, however often a
// write is tried in between.
type health struct {
	log   *slog.Logger
	opts  KafkaOptions
	clock func() time.Time

	mu        sync.Mutex
	probe     error // how the last look at brokers and topic ended
	send      error // how the last write ended, while there is something to write
	condition condition
	since     time.Time
}

func newHealth(log *slog.Logger, o KafkaOptions, clock func() time.Time) *health {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if clock == nil {
		clock = time.Now
	}
	return &health{log: log, opts: o, clock: clock, probe: errNever}
}

// probed takes the result of a look at brokers and topic.
func (h *health) probed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probe = err
	h.update()
}

// sent takes the result of a write; nil says that nothing failed is left.
func (h *health) sent(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send = err
	if err == nil && h.probe == errNever {
		h.probe = nil
	}
	h.update()
}

// up tells whether Kafka takes records, and whether the topic is there.
func (h *health) up() (kafka, topic bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.condition == conditionUp, h.probe == nil && h.condition != conditionNoTopic
}

// update settles on the worse of both views.
func (h *health) update() {
	err := h.send
	if err == nil {
		err = h.probe
	}
	next := conditionOf(err)
	if next == h.condition {
		return
	}
	before, since := h.condition, h.since
	h.condition, h.since = next, h.clock()
	if next != conditionUp {
		h.log.Warn(h.advice(next), "topic", h.opts.Topic, "brokers", strings.Join(h.opts.Brokers, ","), "error", err)
		return
	}
	if before == "" {
		h.log.Info("Kafka takes records", "topic", h.opts.Topic)
		return
	}
	h.log.Info("Kafka takes records again", "topic", h.opts.Topic, "was", string(before), "for", h.since.Sub(since))
}

func conditionOf(err error) condition {
	if err == nil {
		return conditionUp
	}
	switch _, reason := classify(err); reason {
	case failTopic:
		return conditionNoTopic
	case failUnauthorized:
		return conditionUnauthorized
	case failTLS:
		return conditionTLS
	}
	return conditionDown
}

// advice says what is wrong and what to do. Serving goes on in every case.
func (h *health) advice(c condition) string {
	const waiting = "; requests are served, records wait in the spool"
	switch c {
	case conditionNoTopic:
		return "the Kafka topic does not exist" + waiting + fmt.Sprintf(": create it with "+
			"kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions 12 --replication-factor 3 --config min.insync.replicas=2",
			h.opts.Brokers[0], h.opts.Topic)
	case conditionUnauthorized:
		return "Kafka refuses the gateway" + waiting + ": check the sasl settings, and the topic's ACLs (Describe and Write)"
	case conditionTLS:
		return "no TLS connection to Kafka" + waiting + ": check the tls settings (CA, server name), and that the port speaks TLS"
	}
	return "Kafka takes no records" + waiting + ": check that the brokers are up and can be reached, " +
		"that their listener's security (TLS, SASL) is the configured one, and that the topic has enough in-sync replicas"
}

// errNever is what health starts from.
var errNever = errors.New("not tried yet")

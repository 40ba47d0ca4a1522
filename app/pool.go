package app

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/upstream"
)

// purpose keeps the mirror's connections apart from those that clients wait for.
type purpose uint8

const (
	forClients purpose = iota
	forMirror
)

// connKey identifies a connection to a model server. tls is the zero value for plaintext.
type connKey struct {
	target  string
	secure  bool
	tls     config.ClientTLS
	purpose purpose
}

func keyFor(spec rollout.Spec, tls *config.ClientTLS, p purpose) connKey {
	k := connKey{target: spec.Target, purpose: p}
	if tls != nil {
		k.secure, k.tls = true, *tls
	}
	return k
}

// pool holds one connection a key. It is used off the data path only, by one
// goroutine at a time.
type pool struct {
	maxMessageBytes int
	version         string
	logger          *slog.Logger
	// linger is how long a connection that nothing uses any more stays open for the
	// calls that are still on it.
	linger time.Duration

	clients map[connKey]*upstream.Client
	retired sync.WaitGroup
	closing chan struct{}
}

func newPool(maxMessageBytes int, version string, linger time.Duration, logger *slog.Logger) *pool {
	return &pool{maxMessageBytes: maxMessageBytes, version: version, linger: linger, logger: logger,
		clients: map[connKey]*upstream.Client{}, closing: make(chan struct{})}
}

// get returns the connection for k, made if there is none yet. It does not wait for
// the server.
func (p *pool) get(k connKey) (*upstream.Client, error) {
	if c := p.clients[k]; c != nil {
		return c, nil
	}
	var settings *config.ClientTLS
	if k.secure {
		settings = &k.tls
	}
	secure, err := clientTLS(settings)
	if err != nil {
		return nil, err
	}
	c, err := upstream.Dial(upstream.Options{
		Spec: rollout.Spec{Target: k.target}, TLS: secure, MaxMessageBytes: p.maxMessageBytes,
		Logger: p.logger, UserAgent: "understudy/" + p.version,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", k.target, err)
	}
	p.clients[k] = c
	return c, nil
}

// keep closes all connections but those used, each after the linger time.
func (p *pool) keep(used map[connKey]bool) {
	for k, c := range p.clients {
		if used[k] {
			continue
		}
		delete(p.clients, k)
		p.retired.Go(func() {
			select {
			case <-time.After(p.linger):
			case <-p.closing:
			}
			_ = c.Close() // nothing is left on it
		})
	}
}

// close closes every connection at once.
func (p *pool) close() {
	close(p.closing)
	p.retired.Wait()
	for _, c := range p.clients {
		_ = c.Close()
	}
}

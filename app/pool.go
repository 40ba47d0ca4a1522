package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/upstream"
)

// connKey identifies a connection to a model server: what differs in any field gets a
// connection of its own.
type connKey struct {
	target string
	access access
	// mirror keeps copies off the connections that clients wait for.
	mirror bool
	// maxMessageBytes bounds a response.
	maxMessageBytes int
}

// access is how an arm is reached. The zero value is plaintext.
type access struct {
	secure bool
	tls    config.ClientTLS
	// authorities is the hash of the CA file's content: renewed authorities, taken up by
	// a reload, make a new connection.
	authorities [sha256.Size]byte
}

// newAccess reads what the settings name and fails where it can't be used.
func newAccess(c *config.ClientTLS) (access, error) {
	if c == nil {
		return access{}, nil
	}
	if _, err := clientTLS(c); err != nil {
		return access{}, err
	}
	out := access{secure: true, tls: *c}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return access{}, err
		}
		out.authorities = sha256.Sum256(pem)
	}
	return out, nil
}

// conn is a connection that knows how many calls are on it.
type conn struct {
	*upstream.Client
	calls atomic.Int64
}

// Call is upstream.Client's, counted.
func (c *conn) Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	c.calls.Add(1)
	defer c.calls.Add(-1)
	return c.Client.Call(ctx, method, req, md)
}

// pool holds one connection a key. It is used off the data path only, by one
// goroutine at a time.
type pool struct {
	version string
	logger  *slog.Logger
	conns   map[connKey]*conn
	retired sync.WaitGroup
	closing chan struct{}
}

func newPool(version string, logger *slog.Logger) *pool {
	return &pool{version: version, logger: logger, conns: map[connKey]*conn{}, closing: make(chan struct{})}
}

// get returns the connection for k, made if there is none yet. It does not wait for
// the server.
func (p *pool) get(k connKey) (*conn, error) {
	if c := p.conns[k]; c != nil {
		return c, nil
	}
	var settings *config.ClientTLS
	if k.access.secure {
		settings = &k.access.tls
	}
	secure, err := clientTLS(settings)
	if err != nil {
		return nil, err
	}
	client, err := upstream.Dial(upstream.Options{
		Spec: rollout.Spec{Target: k.target}, TLS: secure, MaxMessageBytes: k.maxMessageBytes,
		Logger: p.logger, UserAgent: "understudy/" + p.version,
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", k.target, err)
	}
	c := &conn{Client: client}
	p.conns[k] = c
	return c, nil
}

// lookAgain is how often a connection that nothing uses any more is looked at. The
// first look comes later than any request that had the old routes in hand.
const lookAgain = time.Second

// keep closes all connections but those used, each when no call is on it any more.
func (p *pool) keep(used map[connKey]bool) {
	for k, c := range p.conns {
		if used[k] {
			continue
		}
		delete(p.conns, k)
		p.retired.Go(func() {
			tick := time.NewTicker(lookAgain)
			defer tick.Stop()
			for ended := false; !ended; {
				select {
				case <-tick.C:
					ended = c.calls.Load() == 0
				case <-p.closing:
					ended = true
				}
			}
			_ = c.Close() // nothing is left on it
		})
	}
}

// close closes every connection at once.
func (p *pool) close() {
	close(p.closing)
	p.retired.Wait()
	for _, c := range p.conns {
		_ = c.Close()
	}
}

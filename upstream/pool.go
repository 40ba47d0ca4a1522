package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/transport"
)

// pool has a connection to each address of a target, and gives them to calls in turn.
type pool struct {
	options Options
	naming  naming
	names   resolver.Resolver
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	mu      sync.Mutex
	members map[string]*member
	ready   []*transport.ClientConn
	turn    int
	// named tells that addresses were found, or none; err is the last reason not to be
	// connected.
	named bool
	err   error
	lost  bool // and said so in the log
	// changed is closed, and made anew, when a call that waits should look again.
	changed chan struct{}
}

// member is one address.
type member struct {
	address string
	stop    context.CancelFunc
	// failed: the last attempt to connect did, and calls need not wait for the next.
	failed bool
}

func newPool(o Options, own resolver.Builder) (*pool, error) {
	n, err := parse(o.Spec.Target, own)
	if err != nil {
		return nil, err
	}
	p := &pool{options: o, naming: n, members: make(map[string]*member), changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	// What a DNS TXT record says of retries must not matter.
	found, err := n.builder.Build(n.target, names{p}, resolver.BuildOptions{DisableServiceConfig: true, Authority: n.authority})
	if err != nil {
		p.stop()
		p.running.Wait()
		return nil, err
	}
	p.mu.Lock()
	p.names = found
	p.mu.Unlock()
	return p, nil
}

// close ends all.
func (p *pool) close() {
	p.mu.Lock()
	p.stop()
	p.change()
	p.mu.Unlock()
	p.names.Close()
	p.running.Wait()
}

// change lets waiting calls look again; p.mu is held.
func (p *pool) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// pick returns a connection. While the first attempts to connect are under way it waits for
// them; without a connection the status says why.
func (p *pool) pick(ctx context.Context) (*transport.ClientConn, rollout.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.ctx.Err() != nil:
			return nil, rollout.Status{Code: rollout.Canceled, Message: "the client was closed"}
		case len(p.ready) > 0:
			p.turn = (p.turn + 1) % len(p.ready)
			return p.ready[p.turn], rollout.Status{}
		case !p.undecided():
			return nil, rollout.Status{Code: rollout.Unavailable, Message: fmt.Sprintf("no connection to %s: %v", p.options.Spec.Target, p.err)}
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); errors.Is(err, context.DeadlineExceeded) {
			return nil, rollout.Status{Code: rollout.DeadlineExceeded, Message: "still connecting to " + p.options.Spec.Target}
		} else if err != nil {
			return nil, rollout.Status{Code: rollout.Canceled, Message: err.Error()}
		}
	}
}

// undecided tells whether a connection may come at any moment; p.mu is held.
func (p *pool) undecided() bool {
	if !p.named {
		return true
	}
	for _, m := range p.members {
		if !m.failed {
			return true
		}
	}
	return false
}

// names hears from the resolver.
type names struct{ pool *pool }

// UpdateState takes the addresses that the target has now.
func (n names) UpdateState(s resolver.State) error {
	p := n.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	now := make(map[string]bool)
	for _, a := range s.Addresses {
		now[a.Addr] = true
	}
	for _, e := range s.Endpoints {
		for _, a := range e.Addresses {
			now[a.Addr] = true
		}
	}
	if len(now) == 0 {
		p.unnamed(errors.New("its name has no address"))
		return errors.New("no addresses")
	}
	p.named = true
	for address, m := range p.members {
		if !now[address] {
			m.stop()
			delete(p.members, address)
		}
	}
	for address := range now {
		if p.members[address] == nil && p.ctx.Err() == nil {
			p.join(address)
		}
	}
	p.change()
	return nil
}

// ReportError takes the resolver's failure; addresses found before stay.
func (n names) ReportError(err error) {
	n.pool.mu.Lock()
	defer n.pool.mu.Unlock()
	n.pool.unnamed(err)
}

func (p *pool) unnamed(err error) {
	p.named, p.err = true, err
	p.judge()
	p.change()
}

// NewAddress is the form of UpdateState that resolvers no longer use.
func (n names) NewAddress(addresses []resolver.Address) {
	_ = n.UpdateState(resolver.State{Addresses: addresses})
}

// ParseServiceConfig is not asked for.
func (n names) ParseServiceConfig(string) *serviceconfig.ParseResult {
	return &serviceconfig.ParseResult{Err: errors.New("service configs are not used")}
}

// join begins to connect to an address; p.mu is held.
func (p *pool) join(address string) {
	ctx, stop := context.WithCancel(p.ctx)
	m := &member{address: address, stop: stop}
	p.members[address] = m
	p.running.Go(func() { p.keep(ctx, m) })
}

// keep keeps an address connected until ctx ends.
func (p *pool) keep(ctx context.Context, m *member) {
	for backoff := baseBackoff; ctx.Err() == nil; {
		conn, err := p.dial(ctx, m.address)
		if err != nil {
			p.down(m, err)
			backoff = p.rest(ctx, backoff)
			continue
		}
		began := time.Now()
		p.up(m, conn)
		select {
		case <-conn.Leaving():
		case <-ctx.Done():
		}
		p.leave(conn)
		if time.Since(began) < baseBackoff {
			backoff = p.rest(ctx, backoff) // one that hangs up at once is not asked without end
		} else {
			backoff = baseBackoff
		}
	}
}

// rest waits, and returns how long to wait the next time.
func (p *pool) rest(ctx context.Context, backoff time.Duration) time.Duration {
	select {
	case <-time.After(time.Duration(float64(backoff) * (0.8 + 0.4*rand.Float64()))):
	case <-ctx.Done():
	}
	return min(backoff*8/5, maxBackoff)
}

func (p *pool) up(m *member, conn *transport.ClientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.failed = false
	p.ready = append(p.ready, conn)
	p.judge()
	p.change()
}

func (p *pool) down(m *member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.failed, p.err = true, err
	p.judge()
	p.change()
	p.again()
}

// again asks for the addresses anew: the server may have moved. p.mu is held.
func (p *pool) again() {
	if p.names != nil {
		p.names.ResolveNow(resolver.ResolveNowOptions{})
	}
}

// leave takes a connection out, and closes it behind the calls under way.
func (p *pool) leave(conn *transport.ClientConn) {
	p.mu.Lock()
	for i, c := range p.ready {
		if c == conn {
			p.ready = append(p.ready[:i:i], p.ready[i+1:]...)
			break
		}
	}
	p.again()
	p.mu.Unlock()
	conn.Retire()
	p.running.Go(func() {
		select {
		case <-conn.Done():
		case <-p.ctx.Done():
		}
		_ = conn.Close()
	})
}

// judge says in the log when the server is lost and when it is back, once each; p.mu is
// held.
func (p *pool) judge() {
	log, arm := p.options.Logger, p.options.Spec.String()
	switch lost := len(p.ready) == 0 && !p.undecided(); {
	case p.ctx.Err() != nil:
	case lost && !p.lost:
		p.lost = true
		log.Warn("model server unreachable: calls fail at once, reconnecting every few seconds; check that it runs and that the target and its TLS settings are right",
			"arm", arm, "error", p.err)
	case p.lost && len(p.ready) > 0:
		p.lost = false
		log.Info("model server reachable again", "arm", arm)
	}
}

// dial connects to an address, up to where calls can be made.
func (p *pool) dial(ctx context.Context, address string) (*transport.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := p.open(ctx, address)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if config := p.options.TLS; config != nil {
		scheme = "https"
		if nc, err = p.secure(ctx, nc, config.Clone()); err != nil {
			return nil, err
		}
	}
	return transport.NewClientConn(ctx, nc, transport.ClientOptions{
		Scheme: scheme, Authority: p.authority(), UserAgent: p.options.UserAgent,
		MaxMessageBytes: p.options.MaxMessageBytes, MaxHeaderBytes: maxHeaderBytes,
		KeepaliveTime: pingEvery, KeepaliveTimeout: pingTimeout,
	})
}

// authority is the name that TLS verifies, where one is set, else the target's.
func (p *pool) authority() string {
	if p.options.TLS != nil && p.options.TLS.ServerName != "" {
		return p.options.TLS.ServerName
	}
	return p.naming.authority
}

func (p *pool) open(ctx context.Context, address string) (net.Conn, error) {
	if p.options.Dialer != nil {
		return p.options.Dialer(ctx, address)
	}
	d := net.Dialer{Control: boundUnacknowledged}
	return d.DialContext(ctx, p.naming.network, address)
}

func (p *pool) secure(ctx context.Context, nc net.Conn, config *tls.Config) (net.Conn, error) {
	if config.ServerName == "" {
		config.ServerName = p.naming.host
	}
	config.NextProtos = []string{"h2"}
	secure := tls.Client(nc, config)
	err := secure.HandshakeContext(ctx)
	if err == nil && secure.ConnectionState().NegotiatedProtocol != "h2" {
		err = errors.New("the server does not speak HTTP/2 over TLS (no ALPN h2)")
	}
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", nc.RemoteAddr(), err)
	}
	return secure, nil
}

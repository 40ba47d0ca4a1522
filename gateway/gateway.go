package gateway

import (
	"crypto/tls"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/health"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/transport"
)

// The limits where Options name none.
const (
	DefaultMaxMessageBytes      = 64 << 20
	DefaultMaxConcurrentStreams = 1024
	DefaultMaxConnections       = 4096
	DefaultMaxInFlight          = 2048
	DefaultMaxInFlightBytes     = 512 << 20
	// DefaultMaxHeaderBytes is what servers on gRPC's C core take at most, so that a
	// header list which passes here does not fail at an arm.
	DefaultMaxHeaderBytes    = 16 << 10
	DefaultConnectionTimeout = 10 * time.Second
	DefaultKeepaliveMinTime  = 10 * time.Second
	DefaultKeepaliveTime     = time.Minute
	DefaultKeepaliveTimeout  = 20 * time.Second
)

// Options set a gateway up. The zero value is a plaintext gateway with the default
// limits, silent and unmeasured.
type Options struct {
	// Version is what ServerMetadata says.
	Version string
	// TLS is nil for plaintext.
	TLS *tls.Config
	// Reflection serves gRPC reflection, so that grpcurl needs no .proto files.
	Reflection bool

	// MaxMessageBytes bounds a request, decompressed. Over it: RESOURCE_EXHAUSTED.
	MaxMessageBytes int
	// MaxConcurrentStreams bounds the requests under way on one connection; a client's
	// further ones wait in the client.
	MaxConcurrentStreams uint32
	// MaxConnections bounds the connections; further ones are closed at once and
	// counted.
	MaxConnections int
	// MaxInFlight bounds the forwarded calls under way on all connections, and
	// MaxInFlightBytes stops new ones while the requests of those come to so much. Over
	// either: RESOURCE_EXHAUSTED.
	MaxInFlight, MaxInFlightBytes int64
	// MaxHeaderBytes bounds a request's metadata as HTTP/2 counts it: names, values
	// and 32 bytes an entry.
	MaxHeaderBytes uint32
	// ConnectionTimeout is the time for the TLS and HTTP/2 handshakes.
	ConnectionTimeout time.Duration
	// KeepaliveMinTime is how often a client may ping at most, with or without requests under
	// way; one that pings more often loses its connection.
	KeepaliveMinTime time.Duration
	// KeepaliveTime is after how much silence a client is pinged, KeepaliveTimeout how
	// long it has to answer before its connection is closed.
	KeepaliveTime, KeepaliveTimeout time.Duration
	// MaxIdle closes a connection that carried no request for so long, MaxAge asks a client
	// to reconnect after so long; 0 never.
	MaxIdle, MaxAge time.Duration

	// Now is the clock; nil means time.Now.
	Now        func() time.Time
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

func (o Options) withDefaults() Options {
	or(&o.MaxMessageBytes, DefaultMaxMessageBytes)
	or(&o.MaxConcurrentStreams, DefaultMaxConcurrentStreams)
	or(&o.MaxConnections, DefaultMaxConnections)
	or(&o.MaxInFlight, DefaultMaxInFlight)
	or(&o.MaxInFlightBytes, DefaultMaxInFlightBytes)
	or(&o.MaxHeaderBytes, DefaultMaxHeaderBytes)
	or(&o.ConnectionTimeout, DefaultConnectionTimeout)
	or(&o.KeepaliveMinTime, DefaultKeepaliveMinTime)
	or(&o.KeepaliveTime, DefaultKeepaliveTime)
	or(&o.KeepaliveTimeout, DefaultKeepaliveTimeout)
	if o.MaxMessageBytes > math.MaxInt32-nameSlack {
		o.MaxMessageBytes = math.MaxInt32 - nameSlack
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func or[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

// Gateway answers clients. Create it with New, give it routes with SetTable, let it
// Serve, and Drain it once.
type Gateway struct {
	options Options
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	table   atomic.Pointer[Table]
	load    load

	server *transport.Server
	health *health.Server
	// mu makes the health service follow Ready when tables and a drain race.
	mu        sync.Mutex
	draining  chan struct{}
	drainOnce sync.Once

	lastRefusal atomic.Int64 // Unix nanoseconds
}

// New returns a gateway without routes: it is live, and not ready. An error means that
// Registerer has collectors of these names already.
func New(o Options) (*Gateway, error) {
	o = o.withDefaults()
	g := &Gateway{options: o, now: o.Now, log: o.Logger, draining: make(chan struct{})}
	g.load.maxCalls, g.load.maxBytes = o.MaxInFlight, o.MaxInFlightBytes
	g.table.Store(&Table{names: "none"})
	var err error
	if g.metrics, err = newMetrics(o.Registerer, g.table.Load); err != nil {
		return nil, err
	}
	g.server = g.newServer()
	return g, nil
}

// SetTable swaps the routes. Requests under way end on the ones that they began with.
func (g *Gateway) SetTable(t *Table) {
	g.table.Store(t)
	g.updateHealth()
}

// Ready tells whether clients are served: there are routes, and Drain was not called.
func (g *Gateway) Ready() bool {
	select {
	case <-g.draining:
		return false
	default:
		return len(g.table.Load().routes) > 0
	}
}

// recovered turns a panic into what the client gets.
func (g *Gateway) recovered(panicked any, model string) rollout.Status {
	g.log.Error("a request handler panicked; the client got INTERNAL and the gateway goes on. This is a bug: please report it with this line",
		"model", model, "panic", panicked, "stack", string(debug.Stack()))
	return rollout.Status{Code: rollout.Internal, Message: "the gateway failed on this request; its log says why"}
}

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/rollout"
)

// DefaultMaxMessageBytes is the limit on a response where Options names none, 64 MiB.
const DefaultMaxMessageBytes = 64 << 20

// nameSlack is what a request may grow by over the limit when an arm's own names
// replace the public ones: a request that the gateway took must not fail here.
const nameSlack = 64 << 10

// maxHeaderBytes bounds an answer's metadata, as HTTP/2 counts it.
const maxHeaderBytes = 64 << 10

// mostTries is how many connections are tried for one call: a server that is going
// away did certainly not begin with a call that it refused.
const mostTries = 3

// Options say whom to call and how.
type Options struct {
	// Spec names the target. Model and version are for log lines: the caller writes
	// them into the message.
	Spec rollout.Spec
	// TLS is nil for plaintext.
	TLS *tls.Config
	// MaxMessageBytes bounds a response, decompressed; 0 means DefaultMaxMessageBytes.
	MaxMessageBytes int
	// UserAgent is what the server is told; empty means "understudy".
	UserAgent string
	// Logger hears of the server's loss and return; nil means silence.
	Logger *slog.Logger
	// Dialer opens connections in place of the network; nil means TCP or Unix sockets.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
}

func (o Options) withDefaults() Options {
	if o.MaxMessageBytes <= 0 {
		o.MaxMessageBytes = DefaultMaxMessageBytes
	}
	if o.UserAgent == "" {
		o.UserAgent = "understudy"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Client calls one model server. It is safe for concurrent use.
type Client struct {
	options Options
	pool    *pool
}

// Dial prepares a client. It connects in the background, so a server that is down does
// not matter here; an error means that the options are invalid.
func Dial(o Options) (*Client, error) {
	if o.Spec.Target == "" {
		return nil, errors.New("upstream: target is empty: want an address such as dns:///model-server:8081")
	}
	o = o.withDefaults()
	p, err := newPool(o, nil)
	if err != nil {
		return nil, fmt.Errorf("upstream: target %q: %w", o.Spec.Target, err)
	}
	return &Client{options: o, pool: p}, nil
}

// Call makes one unary call of method, a full name such as oip.MethodModelInfer, with
// ctx's deadline and cancellation. It makes exactly one attempt and does not wait for a
// server that is down. The caller keeps its reference to req, and must not change md
// until the call is over.
//
// The status is the server's own, message and details included, or one that says why there
// is none: UNAVAILABLE without a connection, INTERNAL for a broken
// answer, RESOURCE_EXHAUSTED for one over the size limit.
func (c *Client) Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	if limit := c.options.MaxMessageBytes + nameSlack; req.Len() > limit {
		return rollout.Reply{Status: rollout.Status{Code: rollout.ResourceExhausted,
			Message: fmt.Sprintf("a request of %d bytes is larger than the limit of %d", req.Len(), limit)}}
	}
	for try := 1; ; try++ {
		conn, s := c.pool.pick(ctx)
		if conn == nil {
			return rollout.Reply{Status: s}
		}
		reply, unsent := conn.Call(ctx, method, req, md)
		if !unsent || try == mostTries {
			reply.Status = detailed(reply.Status)
			return reply
		}
	}
}

// detailed takes the status from its details, as every gRPC client does: they say the same
// and more. Details of another code contradict it.
func detailed(s rollout.Status) rollout.Status {
	if s.Details == nil || s.Code == rollout.OK {
		return s
	}
	var p spb.Status
	switch err := proto.Unmarshal(s.Details, &p); {
	case err != nil:
		return s
	case p.GetCode() != int32(s.Code):
		return rollout.Status{Code: rollout.Internal, Message: fmt.Sprintf("the server's grpc-status is %s, and that in its details %s", s.Code, rollout.Code(p.GetCode()))}
	}
	s.Message = p.GetMessage()
	return s
}

// Close ends calls under way with CANCELLED and closes the connections.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// How connections are kept. A champion that comes back is found within about maxBackoff; one
// that does not answer the attempt is given up after connectTimeout. Pings more often than
// every five minutes are abuse to servers on gRPC's C core, which then drop the connection.
// The shorter timeout is what matters: it also bounds how long bytes may go without the
// host's acknowledgement, so that one which has vanished breaks the connection.
const (
	baseBackoff    = 100 * time.Millisecond
	maxBackoff     = 3 * time.Second
	connectTimeout = 3 * time.Second
	pingEvery      = 6 * time.Minute
	pingTimeout    = 10 * time.Second
)

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// DefaultMaxMessageBytes is the limit on a response where Options names none, 64 MiB.
const DefaultMaxMessageBytes = 64 << 20

// nameSlack is what a request may grow by over the limit when an arm's own names
// replace the public ones: a request that the gateway took must not fail here.
const nameSlack = 64 << 10

// A champion that comes back is found within about maxBackoff; one that does not answer
// the connection attempt is given up after connectTimeout.
const (
	baseBackoff    = 100 * time.Millisecond
	maxBackoff     = 3 * time.Second
	connectTimeout = 3 * time.Second
)

// Pings more often than every five minutes are abuse to servers on gRPC's C core, which
// then drop the connection. The shorter timeout is what matters here: it also
// becomes TCP_USER_TIMEOUT, so that bytes which a vanished host never acknowledges
// break the connection after that time.
const (
	pingEvery   = 6 * time.Minute
	pingTimeout = 10 * time.Second
)

// Windows of a fixed size leave out the pings by which grpc-go finds one.
const (
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
)

// detailsKey is where gRPC carries the serialized google.rpc.Status.
const detailsKey = "grpc-status-details-bin"

// serviceConfig spreads calls over all addresses; grpc-go's own default pins one.
const serviceConfig = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// Options say whom to call and how.
type Options struct {
	// Spec names the target. Model and version are for log lines: the caller writes
	// them into the message.
	Spec rollout.Spec
	// TLS is nil for plaintext.
	TLS *tls.Config
	// MaxMessageBytes bounds a response, decompressed; 0 means DefaultMaxMessageBytes.
	MaxMessageBytes int
	// UserAgent comes before grpc-go's own; empty means "understudy".
	UserAgent string
	// Logger hears of the server's loss and return; nil means silence.
	Logger *slog.Logger
	// Dialer opens connections in place of the network; nil means TCP or Unix sockets.
	Dialer func(ctx context.Context, address string) (net.Conn, error)
}

// Client calls one model server. It is safe for concurrent use.
type Client struct {
	conn *grpc.ClientConn
	stop context.CancelFunc
	done sync.WaitGroup
}

// unary has the one shape of all methods that are forwarded.
var unary = grpc.StreamDesc{}

// Dial prepares a client. It connects at the first call, so a server that is down does
// not matter here; an error means that the options are invalid.
func Dial(o Options) (*Client, error) {
	if o.Spec.Target == "" {
		return nil, errors.New("upstream: target is empty: want an address such as dns:///model-server:8081")
	}
	conn, err := grpc.NewClient(o.Spec.Target, o.dialOptions()...)
	if err != nil {
		return nil, fmt.Errorf("upstream: target %q: %w", o.Spec.Target, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{conn: conn, stop: stop}
	if o.Logger != nil {
		c.done.Go(func() { watch(ctx, conn, o.Spec, o.Logger) })
	}
	return c, nil
}

func (o Options) dialOptions() []grpc.DialOption {
	limit := o.MaxMessageBytes
	if limit <= 0 {
		limit = DefaultMaxMessageBytes
	}
	agent := o.UserAgent
	if agent == "" {
		agent = "understudy"
	}
	creds := insecure.NewCredentials()
	if o.TLS != nil {
		creds = credentials.NewTLS(o.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(agent),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(), // what a DNS TXT record says of retries must not matter
		grpc.WithDisableRetry(),
		grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(streamWindow),
		grpc.WithInitialConnWindowSize(connectionWindow),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: baseBackoff, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxBackoff},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingEvery, Timeout: pingTimeout}),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(oip.Codec{}),
			grpc.MaxCallRecvMsgSize(limit),
			grpc.MaxCallSendMsgSize(limit+nameSlack),
		),
	}
	if o.Dialer != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dialer))
	}
	return opts
}

// Call makes one unary call of method, a full name such as oip.MethodModelInfer, with
// ctx's deadline and cancellation. It makes exactly one attempt and does not wait for a
// server that is down. The caller keeps its reference to req, must not change md
// afterwards, and must end ctx at some time after the call, as the end of a request does:
// a server that answers a unary call twice keeps its stream until then.
//
// The status is the server's own, message and details included, or the one that grpc-go gives where
// the server sent none: UNAVAILABLE without a connection, INTERNAL for a broken
// answer, RESOURCE_EXHAUSTED for one over the size limit.
func (c *Client) Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	stream, err := c.conn.NewStream(metadata.NewOutgoingContext(ctx, metadata.MD(md)), &unary, method)
	if err != nil {
		return rollout.Reply{Status: statusOf(err, nil)}
	}
	// The codec hands this reference to the transport, which may still be writing when
	// the call is long over.
	out, in := oip.Frame{Payload: req.Ref()}, oip.Frame{}
	if err = stream.SendMsg(&out); err == nil {
		err = stream.RecvMsg(&in)
	}
	out.Free()
	if err != nil {
		in.Free()
	}
	header, _ := stream.Header()
	trailer := stream.Trailer()
	return rollout.Reply{
		Status:  statusOf(err, trailer[detailsKey]),
		Payload: in.Payload,
		Header:  received(header),
		Trailer: received(trailer),
	}
}

// statusOf returns how a call ended; details is what the server sent under detailsKey.
func statusOf(err error, details []string) rollout.Status {
	if err == nil {
		return rollout.Status{}
	}
	s := status.Convert(err)
	out := rollout.Status{Code: rollout.Code(s.Code()), Message: s.Message()}
	if len(details) == 1 && belongs(details[0], s) {
		out.Details = []byte(details[0])
	}
	return out
}

// belongs tells whether details go with the status s. Where their code is another than
// the server's grpc-status, grpc-go made an INTERNAL of both; handing them on would only
// repeat the contradiction.
func belongs(details string, s *status.Status) bool {
	var p spb.Status
	return proto.Unmarshal([]byte(details), &p) != nil || p.GetCode() == int32(s.Code())
}

// Close ends calls under way with CANCELLED and closes the connections.
func (c *Client) Close() error {
	c.stop()
	err := c.conn.Close()
	c.done.Wait()
	return err
}

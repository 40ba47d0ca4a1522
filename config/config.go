package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// MaxFileBytes bounds a config file; a larger one is refused unread.
const MaxFileBytes = 1 << 20

// Config is a whole file: every default is filled in and every field within its bounds.
type Config struct {
	Listen Listen
	Limits Limits
	// Reflection offers gRPC server reflection on the data port.
	Reflection bool
	// Models are in the file's order; at least one.
	Models []Model
	// Sink is nil only where no model has a challenger and the file names no sink.
	Sink  *Sink
	Store Store
	// Outcomes is nil where none are taken.
	Outcomes *Outcomes
	Admin    Admin
	// Shutdown is the time that calls in flight and unsent records get at SIGTERM.
	Shutdown time.Duration

	warnings []string
}

// Listen is where clients and operators connect, as "host:port"; an empty host is
// every address, port 0 any free one.
type Listen struct {
	GRPC  string
	Admin string
	// TLS is nil where the data port speaks plaintext.
	TLS *ServerTLS
}

// ServerTLS names PEM files of a listener.
type ServerTLS struct {
	Cert, Key string
	// ClientCA, if set, makes client certificates mandatory.
	ClientCA string
}

// ClientTLS names PEM files for a connection that the gateway opens.
type ClientTLS struct {
	// CA verifies the server; empty means the system's roots.
	CA string
	// Cert and Key, both or neither, are the gateway's own.
	Cert, Key string
	// ServerName is expected in the server's certificate; empty means the target's host.
	ServerName string
}

// Limits protect the data port from its clients.
type Limits struct {
	// MaxMessageBytes bounds requests and responses, towards clients and model servers.
	MaxMessageBytes int
	// MaxConcurrentStreams bounds the calls in flight on one connection.
	MaxConcurrentStreams uint32
	MaxConnections       int
	// MaxInFlight and MaxInFlightBytes bound the calls under way and their requests.
	MaxInFlight, MaxInFlightBytes int64
	Keepalive                     Keepalive
}

// Keepalive are the data port's rules for connections.
type Keepalive struct {
	// MinTime is the least time between two pings of a client; a client that pings more
	// often is disconnected.
	MinTime time.Duration
	// Time without traffic makes the gateway ping; without an answer in Timeout the
	// connection is closed.
	Time, Timeout time.Duration
	// MaxIdle closes connections that carried no call for so long; 0 never.
	MaxIdle time.Duration
	// MaxAge asks clients to reconnect after so long, which spreads them over new
	// replicas; 0 never.
	MaxAge time.Duration
}

// Model is one public name with its arms and its rollout.
type Model struct {
	// Name is what a client puts in model_name.
	Name     string
	Champion Arm
	// Challenger is nil where nothing is rehearsed.
	Challenger *Arm
	// RoutingKey lists where the key of the split comes from; the first that is present
	// counts. Empty: the gateway's own id.
	RoutingKey []KeySource
	// Compare has one rule an output at most.
	Compare []rollout.CompareRule
	// Record says what of the payloads is recorded.
	Record rollout.RecordPolicy
	Shadow Shadow
	Plan   rollout.Plan
	// Rules say how the rollout is judged. Alpha and MaxCohorts are set without gates too.
	Rules   rollout.Rules
	Breaker Breaker
	// Fallback is who answers where the challenger failed: always "champion".
	Fallback string
}

// Configured returns what the rollout's rules need to know of the model.
func (m Model) Configured() rollout.Configured {
	c := rollout.Configured{Model: m.Name, Champion: m.Champion.Spec, Plan: m.Plan, Rules: m.Rules}
	if m.Challenger != nil {
		c.Challenger = m.Challenger.Spec
	}
	return c
}

// Arm is one version of a model and how it is reached.
type Arm struct {
	Spec rollout.Spec
	// TLS is nil for plaintext.
	TLS *ClientTLS
	// Timeout is the challenger's budget for a live call; 0 for a champion, which has
	// all the time that its caller has.
	Timeout time.Duration
	// MaxInFlight caps the challenger's live calls in flight; 0 for a champion.
	MaxInFlight int
}

// The kinds of KeySource.
const (
	FromParameter = "parameter"
	FromHeader    = "header"
)

// KeySource is a place in a request where a routing key or a segment may stand.
type KeySource struct {
	// Kind is FromParameter or FromHeader.
	Kind string
	// Name of the request parameter, or of the metadata key in lower case.
	Name string
}

// String returns the source as the file writes it, such as "header:x-user-id".
func (s KeySource) String() string { return s.Kind + ":" + s.Name }

// Shadow bounds the mirror.
type Shadow struct {
	// Sample is the share of requests that the challenger gets a copy of.
	Sample rollout.Weight
	// MaxInFlight and MaxBytes bound copies that are on their way or waiting.
	MaxInFlight int
	MaxBytes    int64
	// Timeout is the mirrored call's own deadline.
	Timeout time.Duration
	// Repeat is the share of copied requests that the champion is asked a second time.
	Repeat rollout.Weight
	// StripHeaders are request metadata keys, in lower case, that no copy carries,
	// beside the credentials that are never copied.
	StripHeaders []string
}

// Breaker says when the challenger has failed too much.
type Breaker struct {
	// ConsecutiveFailures trip it, ...
	ConsecutiveFailures uint32
	// ... and so does a share of failures, above 0 and at most 1, among at least
	// MinRequests within Window.
	FailureRatio float64
	MinRequests  uint32
	Window       time.Duration
	// OpenFor is the time between probes while it is open in shadow.
	OpenFor time.Duration
}

// Sink is where records go.
type Sink struct {
	Kafka Kafka
	// Spool is nil where records wait for Kafka in memory.
	Spool *Spool
	// MaxQueueBytes bounds records that wait in memory: with Spool for the disk,
	// without it for Kafka.
	MaxQueueBytes int64
}

// Spool is the disk queue in front of Kafka.
type Spool struct {
	// Dir is the spool's alone. It is made if it is missing.
	Dir string
	// MaxBytes bounds what the spool takes on disk.
	MaxBytes int64
	// Fsync is "interval", "always" or "never"; Interval is for the first.
	Fsync    string
	Interval time.Duration
	// Full is who goes when MaxBytes is reached: "dropNewest" or "dropOldest".
	Full string
}

// Kafka is the cluster and the topic.
type Kafka struct {
	Brokers []string
	Topic   string
	// DeadLetterTopic gets what the brokers refuse for good; empty for none.
	DeadLetterTopic string
	// Encoding of the records: "protobuf" or "json".
	Encoding string
	// Compression of the batches: "none", "gzip", "snappy", "lz4" or "zstd".
	Compression string
	// TLS is nil for plaintext, SASL for none.
	TLS  *ClientTLS
	SASL *SASL
	// MaxRecordBytes is the size at which a record's payloads are cut.
	MaxRecordBytes int64
}

// SASL is how the gateway authenticates to Kafka.
type SASL struct {
	// Mechanism is "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512".
	Mechanism string
	Username  string
	// PasswordFile holds the password; a trailing newline is not part of it.
	PasswordFile string
}

// Store is where rollout state is kept.
type Store struct {
	// Path of the database file; its directory must exist.
	Path string
}

// Admin is the operators' port.
type Admin struct {
	// Tokens may be empty: then only loopback callers are answered.
	Tokens []Token
	// Audit is the path of the audit log.
	Audit string
	// TLS is nil where the port speaks plaintext.
	TLS *ServerTLS
}

// The roles of a Token.
const (
	RoleViewer   = "viewer"
	RoleOperator = "operator"
	RoleReporter = "reporter"
)

// Token is the credential of an operator, or of a program.
type Token struct {
	// Name is the actor in the audit log.
	Name string
	// Role is RoleViewer, RoleOperator or RoleReporter.
	Role string
	// File holds the secret; a trailing newline is not part of it.
	File string
}

// Warnings returns what is allowed but probably not meant, one line each, in the
// form of an error's. It is empty for a file without such.
func (c *Config) Warnings() []string { return c.warnings }

// Load reads and parses the file at path.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Parse(path, data)
}

// Parse returns the config that data holds. name stands for the file in messages.
// The error joins an *Error for everything that could be found wrong; each matches
// ErrInvalid.
func Parse(name string, data []byte) (*Config, error) {
	d := &document{name: name}
	c := &Config{}
	if root, ok := d.read(data); ok {
		d.config(root, c)
	}
	if len(d.errs) > 0 {
		return nil, d.joined()
	}
	c.warnings = d.warnings
	return c, nil
}

// All returns every *Error that Parse joined in err, in the file's order.
func All(err error) []*Error {
	var one *Error
	var many interface{ Unwrap() []error }
	switch {
	case errors.As(err, &many):
		var out []*Error
		for _, e := range many.Unwrap() {
			out = append(out, All(e)...)
		}
		return out
	case errors.As(err, &one):
		return []*Error{one}
	}
	return nil
}

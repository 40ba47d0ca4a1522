package config

import (
	"fmt"
	"math"
	"net"
	"regexp"
	"strconv"
	"time"
)

// Most of the bounds below are no limits that anything depends on. They are far from
// any sensible setting, so that what lies outside is a slip of the pen: a missing
// digit, a wrong unit.
const (
	leastTime = time.Millisecond
	mostTime  = 24 * time.Hour
	mostCount = 1_000_000_000
	mostBytes = int64(1) << 40
)

// config reads the whole file.
func (d *document) config(root node, c *Config) {
	o, ok := root.object(keys{
		known: []string{"listen", "limits", "reflection", "models", "sink", "store", "outcomes", "admin", "shutdown"},
		later: []string{"tracing", "rest"},
	})
	if !ok {
		return
	}
	d.listen(o, &c.Listen)
	d.limits(o, &c.Limits)
	o.bool("reflection", &c.Reflection)
	d.models(o, c)
	d.sink(o, c)
	d.store(o, &c.Store)
	d.outcomes(o, c)
	d.admin(o, &c.Admin)
	c.Shutdown = 25 * time.Second
	o.duration("shutdown", &c.Shutdown, 0, time.Hour)
	d.crossCheck(o, c)
}

// section returns the mapping under key; ok is false where it is absent or no mapping.
func (o object) section(key string, k keys) (object, bool) {
	if n, ok := o.fields[key]; ok {
		return n.object(k)
	}
	return object{}, false
}

func (d *document) listen(root object, l *Listen) {
	*l = Listen{GRPC: ":8081", Admin: ":8082"}
	o, ok := root.section("listen", keys{
		known: []string{"grpc", "admin", "tls"},
		later: []string{"rest", "http"},
	})
	if !ok {
		return
	}
	o.address("grpc", &l.GRPC)
	o.address("admin", &l.Admin)
	l.TLS = o.tlsServer()
	if _, port, _ := net.SplitHostPort(l.GRPC); l.GRPC == l.Admin && port != "0" {
		o.d.fail(o.line(), o.path, "grpc and admin both want %s; they are two ports", l.GRPC)
	}
}

// address reads a key as what a listener listens on.
func (o object) address(key string, dst *string) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	const want = `"host:port" or ":port", such as ":8081"`
	s, ok := n.text(want)
	if !ok {
		return
	}
	if _, port, err := net.SplitHostPort(s); err != nil || !isPort(port, 0) {
		n.fail("is %s; want %s", n.describe(), want)
		return
	}
	*dst = s
}

// isPort tells whether s is a decimal port number of at least least.
func isPort(s string, least uint64) bool {
	p, err := strconv.ParseUint(s, 10, 16)
	return err == nil && p >= least
}

// tlsServer reads the key `tls` of a listener; nil where it is absent.
func (o object) tlsServer() *ServerTLS {
	s, ok := o.section("tls", keys{
		known: []string{"cert", "key", "clientCA"},
		hints: map[string]string{"ca": "on a listener, clientCA verifies the clients"},
	})
	if !ok {
		return nil
	}
	t := &ServerTLS{}
	s.string("cert", &t.Cert, "the path of a PEM file")
	s.string("key", &t.Key, "the path of a PEM file")
	s.string("clientCA", &t.ClientCA, "the path of a PEM file")
	s.need("cert", "the path of the certificate's PEM file")
	s.need("key", "the path of the private key's PEM file")
	return t
}

// tlsClient reads the key `tls` of a connection; nil where it is absent.
func (o object) tlsClient() *ClientTLS {
	s, ok := o.section("tls", keys{
		known: []string{"ca", "cert", "key", "serverName"},
		hints: map[string]string{"insecureSkipVerify": "a server is always verified; name its authority in ca"},
	})
	if !ok {
		return nil
	}
	t := &ClientTLS{}
	s.string("ca", &t.CA, "the path of a PEM file")
	s.string("cert", &t.Cert, "the path of a PEM file")
	s.string("key", &t.Key, "the path of a PEM file")
	s.string("serverName", &t.ServerName, "the name in the server's certificate")
	if s.has("cert") != s.has("key") {
		s.fail("has only one of cert and key; want both, or neither")
	}
	return t
}

func (d *document) limits(root object, l *Limits) {
	*l = Limits{
		MaxMessageBytes: 64 << 20, MaxConcurrentStreams: 1024, MaxConnections: 4096, MaxInFlight: 2048, MaxInFlightBytes: 512 << 20,
		Keepalive: Keepalive{
			MinTime: 10 * time.Second, Time: time.Minute, Timeout: 20 * time.Second, MaxIdle: 15 * time.Minute,
		},
	}
	o, ok := root.section("limits", keys{known: []string{"maxMessageBytes", "maxConcurrentStreams", "maxConnections", "maxInFlight", "maxInFlightBytes", "keepalive"}})
	if !ok {
		return
	}
	// gRPC frames a message with a signed 32-bit length.
	size(o, "maxMessageBytes", &l.MaxMessageBytes, 1<<10, math.MaxInt32)
	count(o, "maxConcurrentStreams", &l.MaxConcurrentStreams, 1, mostCount)
	count(o, "maxConnections", &l.MaxConnections, 1, mostCount)
	count(o, "maxInFlight", &l.MaxInFlight, 1, mostCount)
	size(o, "maxInFlightBytes", &l.MaxInFlightBytes, 1<<20, mostBytes)
	k, ok := o.section("keepalive", keys{known: []string{"minTime", "time", "timeout", "maxIdle", "maxAge"}})
	if !ok {
		return
	}
	k.duration("minTime", &l.Keepalive.MinTime, leastTime, mostTime)
	// The transport raises anything shorter to a second, unasked.
	k.duration("time", &l.Keepalive.Time, time.Second, mostTime)
	k.duration("timeout", &l.Keepalive.Timeout, time.Second, mostTime)
	k.duration("maxIdle", &l.Keepalive.MaxIdle, 0, 365*mostTime)
	k.duration("maxAge", &l.Keepalive.MaxAge, 0, 365*mostTime)
}

func (d *document) sink(root object, c *Config) {
	o, ok := root.section("sink", keys{known: []string{"kafka", "spool", "maxQueueBytes"}})
	if !ok {
		return
	}
	c.Sink = &Sink{MaxQueueBytes: 256 << 20}
	size(o, "maxQueueBytes", &c.Sink.MaxQueueBytes, 1<<20, mostBytes)
	o.need("kafka", "a mapping with brokers and topic")
	if k, ok := o.section("kafka", keys{
		known: []string{"brokers", "topic", "deadLetterTopic", "encoding", "compression", "tls", "sasl", "maxRecordBytes"},
		later: []string{"schemaRegistry"},
		hints: map[string]string{"acks": "acks is always all", "broker": "brokers is a list of host:port"},
	}); ok {
		d.kafka(k, &c.Sink.Kafka)
	}
	d.spool(o, c.Sink)
}

// topicName is Kafka's own rule for the names of topics.
var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,249}$`)

func (d *document) kafka(o object, k *Kafka) {
	// A megabyte of 10⁶ leaves room for headers and batch under a topic's usual 1 MiB.
	*k = Kafka{Topic: "understudy.predictions", Encoding: "protobuf", Compression: "zstd", MaxRecordBytes: 990_000}
	o.need("brokers", `a list of "host:port"`)
	if n, ok := o.fields["brokers"]; ok {
		k.Brokers = n.brokers()
	}
	o.topic("topic", &k.Topic)
	o.topic("deadLetterTopic", &k.DeadLetterTopic)
	if n, ok := o.fields["deadLetterTopic"]; ok && k.DeadLetterTopic == k.Topic {
		n.fail("is the topic itself; want another one, or remove it")
	}
	o.choice("encoding", &k.Encoding, []string{"protobuf", "json"}, []string{"avro"})
	o.choice("compression", &k.Compression, []string{"none", "gzip", "snappy", "lz4", "zstd"}, nil)
	size(o, "maxRecordBytes", &k.MaxRecordBytes, 16<<10, 256<<20) // as the sink takes it
	k.TLS = o.tlsClient()
	k.SASL = d.sasl(o, k.TLS)
}

// sasl reads the key `sasl` of a Kafka; nil where it is absent.
func (d *document) sasl(o object, tls *ClientTLS) *SASL {
	s, ok := o.section("sasl", keys{
		known: []string{"mechanism", "username", "passwordFile"},
		hints: map[string]string{"password": "write the password to a file of its own and name that in passwordFile"},
	})
	if !ok {
		return nil
	}
	l := &SASL{}
	s.need("mechanism", oneOf(mechanisms))
	s.choice("mechanism", &l.Mechanism, mechanisms, []string{"OAUTHBEARER", "GSSAPI", "AWS_MSK_IAM"})
	s.need("username", "a user name")
	s.string("username", &l.Username, "a user name")
	s.need("passwordFile", "the path of a file with the password")
	s.string("passwordFile", &l.PasswordFile, "the path of a file with the password")
	if l.Mechanism == "PLAIN" && tls == nil {
		d.warn(s.line(), s.path, "PLAIN without tls sends the password readable; set %s.tls", o.path)
	}
	return l
}

// topic reads a key as the name of a topic.
func (o object) topic(key string, dst *string) {
	const want = "a topic name: up to 249 of a-z A-Z 0-9 . _ -"
	if n, ok := o.fields[key]; ok {
		o.string(key, dst, want)
		if !topicName.MatchString(*dst) || *dst == "." || *dst == ".." {
			n.fail("is %s; want %s", n.describe(), want)
		}
	}
}

// mechanisms of SASL.
var mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// brokers reads a list of host:port.
func (n node) brokers() []string {
	const want = `"host:port", such as "kafka:9092"`
	elements, ok := n.list(want)
	if ok && len(elements) == 0 {
		n.fail("is an empty list; want at least one %s", want)
	}
	var out []string
	for _, e := range elements {
		s, ok := e.text(want)
		if !ok {
			continue
		}
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || !isPort(port, 1) {
			e.fail("is %s; want %s", e.describe(), want)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (d *document) store(root object, s *Store) {
	s.Path = "/var/lib/understudy/state.db"
	if o, ok := root.section("store", keys{known: []string{"path"}, later: []string{"etcd"}}); ok {
		o.string("path", &s.Path, "the path of the state file")
	}
}

func (d *document) admin(root object, a *Admin) {
	a.Audit = "/var/lib/understudy/audit.jsonl"
	o, ok := root.section("admin", keys{
		known: []string{"tokens", "audit", "tls"},
		later: []string{"console", "oidc"},
	})
	if !ok {
		return
	}
	o.string("audit", &a.Audit, "the path of the audit log")
	a.TLS = o.tlsServer()
	n, ok := o.fields["tokens"]
	if !ok {
		return
	}
	elements, _ := n.list("tokens, each with name, role and file")
	names := map[string]int{}
	for _, e := range elements {
		t, ok := e.token()
		if !ok {
			continue
		}
		if first, twice := names[t.Name]; twice && t.Name != "" {
			e.fail("name %q is taken by the token in line %d; the audit log needs to tell them apart", t.Name, first)
		}
		names[t.Name] = e.line()
		a.Tokens = append(a.Tokens, t)
	}
}

// roles of a Token.
var roles = []string{RoleViewer, RoleOperator, RoleReporter}

// token reads one element of admin.tokens.
func (n node) token() (t Token, ok bool) {
	o, ok := n.object(keys{
		known: []string{"name", "role", "file"},
		hints: map[string]string{"token": "write the token to a file of its own and name that in file"},
	})
	if !ok {
		return t, false
	}
	o.need("name", "the actor's name for the audit log")
	o.string("name", &t.Name, "the actor's name for the audit log")
	o.need("role", oneOf(roles))
	o.choice("role", &t.Role, roles, nil)
	o.need("file", "the path of a file with the token")
	o.string("file", &t.File, "the path of a file with the token")
	return t, true
}

// crossCheck holds sections against each other.
func (d *document) crossCheck(root object, c *Config) {
	for i, m := range c.Models {
		if m.Challenger == nil {
			continue
		}
		if c.Sink == nil && !root.has("sink") {
			d.fail(root.line(), "sink", "missing; model %q has a challenger, and both predictions go to Kafka: want sink.kafka with brokers and topic", m.Name)
			break
		}
		if n := root.fields["models"]; m.Shadow.MaxBytes < int64(c.Limits.MaxMessageBytes) {
			d.warn(n.line(), fmt.Sprintf("models[%d].shadow.maxBytes", i), "%s is less than limits.maxMessageBytes, %s: the largest requests are never mirrored",
				formatSize(m.Shadow.MaxBytes), formatSize(int64(c.Limits.MaxMessageBytes)))
		}
	}
	d.checkSink(root, c)
	d.checkOutcomes(root, c)
	if n, ok := root.fields["listen"]; len(c.Admin.Tokens) == 0 && !loopback(c.Listen.Admin) {
		line := root.line()
		if ok {
			line = n.line()
		}
		d.warn(line, "admin.tokens", "none, and %s is reachable from other machines: the admin RPCs answer loopback callers only; add tokens to operate from elsewhere", c.Listen.Admin)
	}
}

// loopback tells whether only this machine can connect to a listener's address.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

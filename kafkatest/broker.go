package kafkatest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// startTimeout is generous: the machine may be compiling beside us.
	startTimeout = 90 * time.Second
	// stopTimeout is how long Stop waits for an orderly end before it kills.
	stopTimeout = 10 * time.Second
)

// Option changes a broker before it starts.
type Option func(*Broker)

// Property sets one line of server.properties, such as "message.max.bytes".
func Property(key, value string) Option {
	return func(b *Broker) { b.properties[key] = value }
}

// Broker is a real Kafka broker in a process of its own. It dies with the test binary
// (on Linux also when that is killed). Its methods are for one goroutine at a time.
type Broker struct {
	// Addr is the listener's "127.0.0.1:port"; it stays the same over Restart.
	Addr string

	java, libs, dir string
	properties      map[string]string

	mu   sync.Mutex
	proc *Process
}

// Launch starts a broker and waits until it answers. The caller calls Stop. The error
// is ErrUnavailable where this machine has no Java, Maven or artifacts.
func Launch(opts ...Option) (*Broker, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("%w: Java 17 is not on the PATH (apt install default-jre-headless), or set %s", ErrUnavailable, EnvBrokers)
	}
	libs, err := artifacts()
	if err != nil {
		return nil, err
	}
	// Another process may take a free port before the broker does.
	for attempt := 1; ; attempt++ {
		b, err := launch(java, libs, opts)
		if err == nil || attempt == 3 || !errors.Is(err, errPortTaken) {
			return b, err
		}
	}
}

func launch(java, libs string, opts []Option) (b *Broker, err error) {
	dir, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, err
	}
	b = &Broker{java: java, libs: libs, dir: dir}
	defer func() {
		if err != nil {
			b.Stop()
		}
	}()
	if err := b.configure(opts); err != nil {
		return nil, err
	}
	format := exec.Command(java, b.args("kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", b.file("server.properties"))...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format Kafka's storage: %w\n%s", err, tail(string(out), 20))
	}
	return b, b.Restart()
}

// configure picks the ports and writes server.properties.
func (b *Broker) configure(opts []Option) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	b.Addr = ports[0]
	b.properties = map[string]string{
		"process.roles":             "broker,controller",
		"node.id":                   "1",
		"controller.quorum.voters":  "1@" + ports[1],
		"controller.listener.names": "CONTROLLER",
		"listeners":                 "PLAINTEXT://" + ports[0] + ",CONTROLLER://" + ports[1],
		"advertised.listeners":      "PLAINTEXT://" + ports[0],
		"log.dirs":                  b.file("data"),
		// Kafka's own topics, as small as one node can have them.
		"offsets.topic.num.partitions":                     "1",
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.num.partitions":             "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		// A test's topics exist because the test made them.
		"auto.create.topics.enable":        "false",
		"group.initial.rebalance.delay.ms": "0",
		// A killed broker may only come back when its session has ended.
		"broker.session.timeout.ms":    "3000",
		"broker.heartbeat.interval.ms": "500",
	}
	for _, o := range opts {
		o(b)
	}
	var text strings.Builder
	for _, k := range slices.Sorted(maps.Keys(b.properties)) {
		fmt.Fprintf(&text, "%s=%s\n", k, b.properties[k])
	}
	return os.WriteFile(b.file("server.properties"), []byte(text.String()), 0o644)
}

// args is a command line for java: a small heap, and start-up before peak speed.
func (b *Broker) args(class string, args ...string) []string {
	return append([]string{
		"-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dorg.apache.logging.log4j.level=INFO", "-cp", filepath.Join(b.libs, "*"), class,
	}, args...)
}

func (b *Broker) file(name string) string { return filepath.Join(b.dir, name) }

// Log returns what the broker wrote so far.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.file("broker.log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// errPortTaken is a broker that could not listen.
var errPortTaken = errors.New("a port was taken by another process")

// Restart starts a stopped or killed broker on its old data and address, and waits
// until it answers. It does nothing where the broker runs.
func (b *Broker) Restart() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		return nil
	}
	log, err := os.OpenFile(b.file("broker.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	proc, err := Spawn(log, b.java, b.args("kafka.Kafka", b.file("server.properties"))...)
	_ = log.Close() // the process has its own
	if err != nil {
		return err
	}
	if err := b.await(proc); err != nil {
		proc.kill()
		return err
	}
	b.proc = proc
	return nil
}

// await returns when the broker answers with itself in the metadata.
func (b *Broker) await(proc *Process) error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		select {
		case <-proc.Done():
			if log := b.Log(); strings.Contains(log, "Address already in use") {
				return fmt.Errorf("start Kafka: %w", errPortTaken)
			}
			return fmt.Errorf("start Kafka: it ended with %v\n%s", proc.Err(), tail(b.Log(), 30))
		case <-time.After(50 * time.Millisecond):
		}
		if ready(b.Addr) {
			return nil
		}
	}
	return fmt.Errorf("start Kafka: no answer on %s after %v\n%s", b.Addr, startTimeout, tail(b.Log(), 30))
}

// Kill ends the broker at once, as a power cut would. Restart brings it back.
func (b *Broker) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		b.proc.kill()
		b.proc = nil
	}
}

// Pause stops the broker in its tracks: it keeps its connections and answers nothing.
func (b *Broker) Pause() error { return b.signal((*Process).pause) }

// Resume ends Pause.
func (b *Broker) Resume() error { return b.signal((*Process).resume) }

func (b *Broker) signal(send func(*Process) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return errors.New("the broker does not run")
	}
	return send(b.proc)
}

// Stop ends the broker and removes its data. It may be called more than once.
func (b *Broker) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc != nil {
		b.proc.stop(stopTimeout)
		b.proc = nil
	}
	_ = os.RemoveAll(b.dir) // in the system's temporary folder; what stays does no harm
}

// freePorts returns addresses on the loopback interface that nobody listens on.
func freePorts(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Held until all are known, so that they differ.
		defer func() { _ = l.Close() }()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// clusterID returns a random id in Kafka's form: 16 bytes in URL-safe base 64. Kafka
// refuses one that begins with a dash.
func clusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := bytes.Split([]byte(strings.TrimSpace(text)), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

// Package kafkatest gives tests a Kafka: a real broker of their own, the one that
// KAFKA_BROKERS names, or a fake in the process.
//
// The real one is Apache Kafka in KRaft mode, a single node on free loopback ports,
// run from its Maven artifacts by the Java on the PATH. The artifacts are resolved
// once into build/kafka below the module's root. Without Java or Maven a test that
// asks for it is skipped and says so; with UNDERSTUDY_REQUIRE_KAFKA=1 it fails.
package kafkatest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// The environment that steers the package.
const (
	// EnvBrokers lists the addresses of a Kafka to use in place of an own one,
	// separated by commas.
	EnvBrokers = "KAFKA_BROKERS"
	// EnvRequire, set to 1, makes a missing Kafka a failure.
	EnvRequire = "UNDERSTUDY_REQUIRE_KAFKA"
	// EnvSkips names a file that gets a line for every test skipped for want of a
	// Kafka; `make test` shows it at the end of the run.
	EnvSkips = "UNDERSTUDY_SKIPS"
)

// ErrUnavailable is why there is no real Kafka here: no Java, no Maven, no artifacts.
var ErrUnavailable = errors.New("no real Kafka here")

// Start returns the addresses of a real Kafka: those in KAFKA_BROKERS, else those of
// a broker that is started now and stopped when the test ends. Options are for the
// latter only.
func Start(t testing.TB, opts ...Option) (brokers []string) {
	t.Helper()
	if b := fromEnv(); len(b) > 0 {
		return b
	}
	return []string{StartBroker(t, opts...).Addr}
}

// StartBroker starts a broker of the test's own, also where KAFKA_BROKERS is set, for
// a test that kills or pauses it. It is stopped when the test ends.
func StartBroker(t testing.TB, opts ...Option) *Broker {
	t.Helper()
	b, err := Launch(opts...)
	if err != nil {
		giveUp(t, err)
	}
	t.Cleanup(b.Stop)
	return b
}

// Shared is one real Kafka for all tests of a binary, started by the first that asks.
// The zero value is ready:
//
//	var kafka kafkatest.Shared
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(kafka.Around(m)) }
type Shared struct {
	mu      sync.Mutex
	started bool
	broker  *Broker
	err     error
}

// Brokers returns the addresses, as Start does.
func (s *Shared) Brokers(t testing.TB) []string {
	t.Helper()
	if b := fromEnv(); len(b) > 0 {
		return b
	}
	s.mu.Lock()
	if !s.started {
		s.started = true
		s.broker, s.err = Launch()
	}
	broker, err := s.broker, s.err
	s.mu.Unlock()
	if err != nil {
		giveUp(t, err)
	}
	return []string{broker.Addr}
}

// Stop stops the broker if one was started.
func (s *Shared) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broker != nil {
		s.broker.Stop()
	}
}

// Runner is a *testing.M.
type Runner interface{ Run() int }

// Around returns m with Stop behind its Run.
func (s *Shared) Around(m Runner) Runner { return around{s, m} }

type around struct {
	shared *Shared
	Runner
}

func (a around) Run() int {
	defer a.shared.Stop()
	return a.Runner.Run()
}

func fromEnv() (brokers []string) {
	for b := range strings.SplitSeq(os.Getenv(EnvBrokers), ",") {
		if b = strings.TrimSpace(b); b != "" {
			brokers = append(brokers, b)
		}
	}
	return brokers
}

// giveUp ends the test: a failure where Kafka is required or should have started,
// else a skip that is noted.
func giveUp(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, ErrUnavailable) || os.Getenv(EnvRequire) == "1" {
		t.Fatalf("kafkatest: %v", err)
	}
	if err := noteSkip(os.Getenv(EnvSkips), t.Name(), err); err != nil {
		t.Errorf("kafkatest: note the skip: %v", err)
	}
	t.Skipf("REAL KAFKA TEST SKIPPED: %v", err)
}

// noteSkip adds a line to the file of skips, if there is to be one.
func noteSkip(file, test string, why error) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(why.Error(), "\n")
	_, err = fmt.Fprintf(f, "%s: %s\n", test, line)
	return errors.Join(err, f.Close())
}

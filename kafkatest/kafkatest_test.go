package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

var shared Shared

func TestMain(m *testing.M) {
	if os.Getenv(envOrphan) != "" {
		orphan()
		return
	}
	goleak.VerifyTestMain(shared.Around(m))
}

// produce writes values to a topic, each with a header, and returns the first error.
func produce(brokers []string, topic string, timeout time.Duration, values ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var records []*kgo.Record
	for i, v := range values {
		records = append(records, &kgo.Record{
			Key: []byte(fmt.Sprint(i)), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(fmt.Sprint("id-", i))}},
		})
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func TestTopicsAndMessages(t *testing.T) {
	kinds := map[string]func(t *testing.T) []string{
		"real": func(t *testing.T) []string { return shared.Brokers(t) },
		"fake": func(t *testing.T) []string { return Fake(t).ListenAddrs() },
	}
	for kind, brokers := range kinds {
		t.Run(kind, func(t *testing.T) {
			brokers := brokers(t)
			topic := Topic(t, brokers, 3, map[string]string{"max.message.bytes": "2000"})
			if got := All(t, brokers, topic, time.Minute); len(got) != 0 {
				t.Fatalf("a new topic holds %d messages", len(got))
			}
			values := make([]string, 50)
			for i := range values {
				values[i] = fmt.Sprint("value-", i)
			}
			if err := produce(brokers, topic, time.Minute, values...); err != nil {
				t.Fatal(err)
			}
			partitions := map[int32]bool{}
			for _, got := range [][]Message{Consume(t, brokers, topic, 50, time.Minute), All(t, brokers, topic, time.Minute)} {
				seen := map[string]string{}
				for _, m := range got {
					seen[m.Headers["ce_id"]] = string(m.Value)
					partitions[m.Partition] = true
					if want := "id-" + string(m.Key); m.Headers["ce_id"] != want {
						t.Errorf("header %q beside key %q", m.Headers["ce_id"], m.Key)
					}
				}
				if len(seen) != 50 || len(got) != 50 || seen["id-49"] != "value-49" {
					t.Errorf("read %d messages, %d ids", len(got), len(seen))
				}
			}
			if len(partitions) != 3 {
				t.Errorf("50 keys on partitions %v, want all 3", partitions)
			}
			if kind == "real" { // the fake takes messages of any size
				if err := produce(brokers, topic, time.Minute, strings.Repeat("x", 3000)); !errors.Is(err, kerr.MessageTooLarge) {
					t.Errorf("a message over the topic's limit: %v", err)
				}
			}
		})
	}
}

func TestBrokerFaults(t *testing.T) {
	began := time.Now()
	b := StartBroker(t, Property("message.max.bytes", "1500"))
	t.Logf("started in %v", time.Since(began).Round(10*time.Millisecond))
	brokers := []string{b.Addr}
	topic := Topic(t, brokers, 1, nil)
	if err := produce(brokers, topic, time.Minute, "before"); err != nil {
		t.Fatal(err)
	}
	if err := produce(brokers, topic, time.Minute, strings.Repeat("x", 3000)); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a message over the broker's limit: %v", err)
	}

	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := produce(brokers, topic, 500*time.Millisecond, "lost"); err == nil {
		t.Error("a paused broker took a message")
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := produce(brokers, topic, time.Minute, "resumed"); err != nil {
		t.Error(err)
	}

	b.Kill()
	if err := produce(brokers, topic, 500*time.Millisecond, "lost"); err == nil {
		t.Error("a killed broker took a message")
	}
	if err := b.Pause(); err == nil {
		t.Error("paused a killed broker")
	}
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := Consume(t, brokers, topic, 1, time.Minute); string(got[0].Value) != "before" {
		t.Errorf("after the restart the topic begins with %q", got[0].Value)
	}
	dir := b.dir
	b.Stop()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
	b.Stop() // twice is fine
}

func TestStartTakesTheBrokersOfTheEnvironment(t *testing.T) {
	t.Setenv(EnvBrokers, " one:9092, two:9092,")
	for _, got := range [][]string{Start(t), shared.Brokers(t)} {
		if fmt.Sprint(got) != "[one:9092 two:9092]" {
			t.Errorf("brokers %q", got)
		}
	}
}

// recorder is a testing.TB that ends the goroutine of a skipped or failed test, as
// the real one does.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Name() string                   { return "TestOfTheRecorder" }
func (r *recorder) Helper()                        {}
func (r *recorder) Errorf(format string, a ...any) { r.failed = fmt.Sprintf(format, a...) }
func (r *recorder) Fatalf(format string, a ...any) {
	r.failed = fmt.Sprintf(format, a...)
	runtime.Goexit()
}
func (r *recorder) Skipf(format string, a ...any) {
	r.skipped = fmt.Sprintf(format, a...)
	runtime.Goexit()
}

// record runs a test function that may skip or fail.
func record(test func(testing.TB)) *recorder {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	return r
}

func TestWithoutJava(t *testing.T) {
	skips := filepath.Join(t.TempDir(), "skips")
	t.Setenv(EnvBrokers, "")
	t.Setenv(EnvRequire, "")
	t.Setenv(EnvSkips, skips)
	t.Setenv("PATH", t.TempDir())
	var own Shared
	for _, start := range []func(testing.TB){func(t testing.TB) { Start(t) }, func(t testing.TB) { own.Brokers(t) }} {
		if r := record(start); !strings.Contains(r.skipped, "REAL KAFKA TEST SKIPPED") || !strings.Contains(r.skipped, "Java 17") || r.failed != "" {
			t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
		}
	}
	noted, err := os.ReadFile(skips)
	if err != nil || strings.Count(string(noted), "TestOfTheRecorder: no real Kafka here") != 2 {
		t.Errorf("noted %q, %v", noted, err)
	}

	t.Setenv(EnvRequire, "1")
	if r := record(func(t testing.TB) { Start(t) }); r.skipped != "" || !strings.Contains(r.failed, "Java 17") {
		t.Errorf("where Kafka is required: skipped %q, failed %q", r.skipped, r.failed)
	}
	own.Stop() // without a broker is fine
}

// fakeMaven puts a shell script in place of mvn, in a module without artifacts.
func fakeMaven(t *testing.T, script string) {
	t.Helper()
	bin, module := t.TempDir(), t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(bin, "mvn"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte("module m\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(module, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	if script == "" {
		t.Setenv("PATH", bin)
	}
}

func TestArtifacts(t *testing.T) {
	t.Run("no maven", func(t *testing.T) {
		fakeMaven(t, "")
		if _, err := artifacts(); err == nil || !strings.Contains(err.Error(), "Maven is not on the PATH") {
			t.Error(err)
		}
	})
	t.Run("maven fails", func(t *testing.T) {
		fakeMaven(t, "echo unknown host; exit 1")
		t.Setenv(EnvSkips, "") // this one is no skip of the run's
		_, err := artifacts()
		if r := record(func(t testing.TB) { giveUp(t, err) }); !strings.Contains(r.skipped+r.failed, "unknown host") {
			t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
		}
	})
	t.Run("once", func(t *testing.T) {
		fakeMaven(t, `for a; do case $a in -DoutputDirectory=*) mkdir "${a#*=}" && echo jar > "${a#*=}/kafka.jar";; esac; done; echo ran >> ran`)
		for range 2 {
			libs, err := artifacts()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(libs, "kafka.jar")); err != nil {
				t.Error(err)
			}
		}
		if ran, err := os.ReadFile("ran"); err != nil || string(ran) != "ran\n" {
			t.Errorf("maven ran %q, %v", ran, err)
		}
	})
}

func TestVersionIsPinned(t *testing.T) {
	if v := Version(); !regexp.MustCompile(`^4\.\d+\.\d+$`).MatchString(v) {
		t.Errorf("version %q", v)
	}
}

func TestClusterIDs(t *testing.T) {
	for range 200 {
		if id := clusterID(); len(id) != 22 || id[0] == '-' {
			t.Fatalf("%q is no cluster id", id)
		}
	}
}

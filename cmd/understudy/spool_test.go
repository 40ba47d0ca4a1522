package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// backlog returns n records.
func backlog(n int) (records [][]byte) {
	for i := range n {
		b, err := proto.Marshal(&recordv1.Prediction{Id: fmt.Sprintf("id-%04d", i), Model: "fraud", Diverted: strings.Repeat("x", 500)})
		if err != nil {
			panic(err)
		}
		records = append(records, b)
	}
	return records
}

func fill(dir string, n int) error {
	d, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		return err
	}
	if _, _, err := d.Append(backlog(n), time.Now().Add(-time.Hour)); err != nil {
		return err
	}
	_, err = d.Close()
	return err
}

// fillSpool is the script command `fill DIR RECORDS`.
func fillSpool(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(fill(ts.MkAbs(args[0]), n))
}

// damageSpool is the script command `damage DIR`: it breaks one record.
func damageSpool(ts *testscript.TestScript, _ bool, args []string) {
	files, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, f := range files {
		name := filepath.Join(ts.MkAbs(args[0]), f.Name())
		b, err := os.ReadFile(name)
		ts.Check(err)
		if i := bytes.Index(b, []byte("id-0001")); i > 0 {
			b[i] ^= 1
			ts.Check(os.WriteFile(name, b, 0o600))
			return
		}
	}
	ts.Fatalf("no record to damage in %s", args[0])
}

// setting is a config whose spool holds n records, and whose topic is on a broker.
func setting(t *testing.T, n int) (file, topic string, brokers []string, dir string) {
	t.Helper()
	brokers = kafkatest.Fake(t, kfake.NumBrokers(1)).ListenAddrs()
	topic = kafkatest.Topic(t, brokers, 4, nil)
	dir = filepath.Join(t.TempDir(), "spool")
	if err := fill(dir, n); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "understudy.yaml")
	yaml := fmt.Sprintf("models: [{name: fraud, champion: {target: \"a:1\"}}]\nsink: {kafka: {brokers: [%q], topic: %s}, spool: {dir: %q}}\n",
		brokers[0], topic, dir)
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, topic, brokers, dir
}

func TestSpoolDrain(t *testing.T) {
	file, topic, brokers, dir := setting(t, 1000)
	var out, log strings.Builder
	if code := run(t.Context(), []string{"spool", "drain", "-c", file}, &out, &log); code != exitOK {
		t.Fatalf("exit code %d: %s", code, log.String())
	}
	if !strings.HasPrefix(out.String(), "1,000 of 1,000 records delivered in ") {
		t.Errorf("said %q", out.String())
	}
	if got := kafkatest.All(t, brokers, topic, 10*time.Second); len(got) != 1000 {
		t.Errorf("%d records on the topic", len(got))
	}
	if st, err := spool.Status(dir, nil); err != nil || st.Records != 0 {
		t.Errorf("left %+v, %v", st, err)
	}
	out.Reset()
	if code := run(t.Context(), []string{"spool", "drain", "-c", file}, &out, &log); code != exitOK || !strings.HasPrefix(out.String(), "0 of 0 ") {
		t.Errorf("drained again: %d, %q", code, out.String())
	}
}

// One that is interrupted, or that a gateway keeps out, leaves everything there.
func TestSpoolDrainThatCannot(t *testing.T) {
	file, topic, _, dir := setting(t, 10)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	away := strings.Replace(string(data), "topic: "+topic, "topic: missing", 1)
	if err := os.WriteFile(file, []byte(away), 0o600); err != nil {
		t.Fatal(err)
	}
	owner, err := spool.Open(spool.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	log := newAwaited() // the command and the log that it set write at the same time
	code := run(t.Context(), []string{"spool", "drain", "-c", file}, &out, log)
	if code != exitFailed || !strings.Contains(log.String(), "locked by another process") || !strings.Contains(log.String(), dir) {
		t.Errorf("beside an owner: %d, %s", code, log.String())
	}
	if _, err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	log = newAwaited()
	code = run(ctx, []string{"spool", "drain", "-c", file}, &out, log)
	if code != exitFailed || !strings.Contains(log.String(), "10 records left in the spool") ||
		!strings.Contains(log.String(), "0 of 10 delivered, 0 a second, Kafka takes none") {
		t.Errorf("interrupted: %d, %s", code, log.String())
	}
	if st, err := spool.Status(dir, nil); err != nil || st.Records != 10 {
		t.Errorf("left %+v, %v", st, err)
	}
}

func TestDrainSaysWhatIsLost(t *testing.T) {
	var b strings.Builder
	err := concludeDrain(&b, app.Drained{Found: 5, Delivered: 2, Dropped: map[rollout.Reason]int64{"corrupt": 2, "rejected": 1, "shutdown": 0}}, time.Second)
	if err == nil || !strings.Contains(err.Error(), "not delivered: 1 rejected, 2 corrupt;") {
		t.Errorf("%v", err)
	}
}

func TestSizeOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "0.977 KiB", 1 << 20: "1 MiB", 10 << 30: "10 GiB", 1_300_000_000: "1.21 GiB"} {
		if got := sizeOf(n); got != want {
			t.Errorf("%d as %q, want %q", n, got, want)
		}
	}
}

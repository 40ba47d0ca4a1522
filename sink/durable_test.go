package sink

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/kafkatest"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/spool"
)

// onDisk keeps records in dir.
func onDisk(dir string) func(*Options) {
	return func(o *Options) { o.Disk = &spool.Options{Dir: dir} }
}

// roomy is a file system with 12,345 bytes left.
type roomy struct{ spool.OS }

func (roomy) Free(string) (int64, error) { return 12_345, nil }

// What one process could not deliver the next one does, and the books of both add up.
func TestLedgerAcrossRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var c tally
	s := on(t, newBroker(deaf), onDisk(dir))
	record(t, s, &c, 0, 1000)
	began := time.Now()
	if err := closeIn(t, s, 20*time.Second); err != nil {
		t.Errorf("Close = %v", err)
	}
	if took := time.Since(began); took > closePatience+3*time.Second {
		t.Errorf("Close waited %s for a broker that takes nothing", took)
	}
	first := want(t, s, 0, 1000)
	if first.DroppedTotal() != 0 {
		t.Errorf("ledger %+v", first)
	}

	var l logs
	b := newBroker(taken)
	s = on(t, b, onDisk(dir), func(o *Options) { o.Logger = l.logger() })
	record(t, s, &c, 1000, 1200)
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 1200 })
	if err := closeIn(t, s, 20*time.Second); err != nil {
		t.Error(err)
	}
	second := want(t, s, 1200, 0)
	if second.Recovered != first.Spooled || second.Eligible != 200 || second.DroppedTotal() != 0 {
		t.Errorf("ledger of the second process %+v", second)
	}
	seen := map[string]bool{}
	for _, key := range b.taken {
		seen[key] = true
	}
	if len(seen) != 1200 || len(b.taken) != 1200 {
		t.Errorf("%d records of %d ids delivered", len(b.taken), len(seen))
	}

	s = on(t, newBroker(taken), onDisk(dir))
	if got := want(t, s, 0, 0); got.Recovered != 0 {
		t.Errorf("delivered records came back: %+v", got)
	}
	if err := closeIn(t, s, time.Second); err != nil {
		t.Error(err)
	}
	c.check(t)
}

// A tiny spool refuses what does not fit, under either policy, and counts it once.
func TestFullDiskSpool(t *testing.T) {
	for _, policy := range []spool.Full{spool.DropNewest, spool.DropOldest} {
		t.Run(string(policy), func(t *testing.T) {
			var c tally
			b := newBroker(deaf)
			s := on(t, b, func(o *Options) {
				o.Disk = &spool.Options{Dir: t.TempDir(), MaxBytes: 64 << 10, Full: policy}
			})
			for i := range 2000 {
				record(t, s, &c, i, i+1)
				if i%100 == 0 {
					eventually(t, "encoding", func() bool { return s.Snapshot().InFlight == 0 })
				}
			}
			eventually(t, "the spool and the ledger agree", func() bool {
				got := s.Snapshot()
				return got.InFlight == 0 && got.Spooled == int64(s.spool.Stats().Records)
			})
			got := s.Snapshot()
			balanced(t, got)
			if stats := s.spool.Stats(); stats.Bytes > 64<<10 {
				t.Errorf("the spool says %+v", stats)
			}
			if got.Dropped[DropSpoolFull] != 2000-got.Spooled || got.Spooled < 10 {
				t.Errorf("ledger %+v", got)
			}
			if err := closeIn(t, s, 200*time.Millisecond); err != nil {
				t.Error(err)
			}
			c.check(t)
		})
	}
}

// A byte that the disk has damaged costs its record, which counts as corrupt.
func TestDamagedRecordOnDisk(t *testing.T) {
	dir := t.TempDir()
	var c tally
	s := on(t, newBroker(deaf), onDisk(dir))
	record(t, s, &c, 0, 20)
	eventually(t, "spooling", func() bool { return s.Snapshot().InFlight == 0 })
	if err := closeIn(t, s, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, id(7))
	r := prometheus.NewPedanticRegistry()
	s = on(t, newBroker(taken), onDisk(dir), func(o *Options) { o.Registerer, o.Disk.FS = r, roomy{} })
	eventually(t, "delivery", func() bool { return s.Snapshot().Spooled == 0 })
	if got := want(t, s, 19, 0); got.Recovered != 20 || got.Dropped[DropCorrupt] != 1 {
		t.Errorf("ledger %+v", got)
	}
	got := figures(t, r)
	for name, want := range map[string]float64{
		"understudy_sink_spool_corrupt_records_total":    1,
		"understudy_sink_spool_durable":                  1,
		"understudy_sink_spool_disk_free_bytes":          12345,
		"understudy_sink_spool_abandoned_segments_total": 0,
		"understudy_sink_backlog_seconds":                0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if got["understudy_sink_spool_fsync_seconds"] == 0 || got["understudy_sink_spool_segments"] == 0 {
		t.Errorf("no fsync or no segment: %v", got)
	}
	if err := closeIn(t, s, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// damage flips a bit of the record that contains text.
func damage(t *testing.T, dir, text string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a folder
		}
		if i := strings.Index(string(b), text); i >= 0 {
			b[i] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no record with %q in %s", text, dir)
}

// A record that the broker refuses for good is kept in a file, with the reason.
func TestRejectedRecordsAreKept(t *testing.T) {
	dir := t.TempDir()
	var c tally
	refuse := newBroker(func(d *delivery, _ int) error {
		if key := string(d.message.key); key == id(3) || key == id(4) {
			return kafka.InvalidRecord
		}
		return nil
	})
	s := on(t, refuse, onDisk(dir))
	record(t, s, &c, 0, 10)
	eventually(t, "an end of all", func() bool { got := s.Snapshot(); return got.InFlight+got.Spooled == 0 && got.Eligible == 10 })
	if got := want(t, s, 8, 0); got.Dropped[DropDeadLetter] != 2 {
		t.Errorf("ledger %+v", got)
	}
	kept := keptIn(t, filepath.Join(dir, "rejected"))
	for _, key := range []string{id(3), id(4)} {
		if line := kept[key]; !strings.Contains(line.Reason, kafka.InvalidRecord.Title()) {
			t.Errorf("%s is kept as %+v", key, line)
		} else {
			same(t, decode(t, line.Record), prediction(key))
		}
	}
	// Its bound reached, they are lost, and counted so.
	s.sender.rejects.maxBytes = 1
	if _, err := s.sender.rejects.keep("x", kafka.InvalidRecord, nil); !errors.Is(err, errRejectedFull) {
		t.Errorf("over the bound: %v", err)
	}
	if err := closeIn(t, s, 10*time.Second); err != nil {
		t.Error(err)
	}
	s = on(t, refuse, onDisk(dir))
	if got := s.Snapshot(); got.Recovered != 0 {
		t.Errorf("rejected records came back: %+v", got)
	}
	if err := closeIn(t, s, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// keptIn returns the rejected records in a folder by id.
func keptIn(t *testing.T, dir string) map[string]rejected {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]rejected{}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var r rejected
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			out[r.ID] = r
		}
	}
	return out
}

// The dead letter topic gets what the topic refuses, and says why.
func TestDeadLetterTopic(t *testing.T) {
	brokers, name := realTopic(t, map[string]string{"max.message.bytes": "900"})
	dead := "dead-" + name
	var c tally
	var l logs
	s := open(t, &l, brokers, onDisk(t.TempDir()), func(o *Options) {
		o.Kafka.Topic, o.Kafka.DeadLetterTopic = name, dead
	})
	bulky := exchange(t, &c, id(2))
	bulky.Model = strings.Repeat("m", 400) // no cut helps
	for _, x := range []*rollout.Exchange{bulky, {ID: id(1)}} {
		s.Accept()
		s.Record(x)
	}
	eventually(t, "the small one", func() bool { return s.Snapshot().Delivered == 1 })
	eventually(t, "a word about the dead letter topic", func() bool { return l.count("the dead letter topic does not take records") == 1 })
	if got := s.Snapshot(); got.Spooled != 1 {
		t.Errorf("a dead letter does not wait: %+v", got)
	}
	s.Accept()
	s.Record(&rollout.Exchange{ID: id(3)})
	eventually(t, "one behind it, which does not wait for it", func() bool { return s.Snapshot().Delivered == 2 })
	kafkatest.CreateTopic(t, brokers, dead, 1, nil)
	eventually(t, "the dead letter", func() bool { return s.Snapshot().Dropped[DropDeadLetter] == 1 })
	got := consume(t, brokers, dead, 1)
	var p recordv1.Prediction
	if err := proto.Unmarshal(got[0].Value, &p); err != nil || p.Id != id(2) {
		t.Errorf("dead letter %v, %v", &p, err)
	}
	headers := map[string]string{}
	for _, h := range got[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if headers[deadLetterTopic] != name || headers[deadLetterReason] == "" || headers["ce_id"] != id(2) {
		t.Errorf("headers %v", headers)
	}
	if err := closeIn(t, s, 10*time.Second); err != nil {
		t.Error(err)
	}
	balanced(t, s.Snapshot())
	c.check(t)
}

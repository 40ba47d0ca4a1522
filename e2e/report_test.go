package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
	"github.com/understudy-serving/understudy/report"
	"github.com/understudy-serving/understudy/report/reporttest"
)

// A report that is killed on its way, twice, and started again counts each record once.
func TestRealReportKilledTwice(t *testing.T) {
	const records = 60_000
	brokers := kafka.Brokers(t)
	topic := kafkatest.Topic(t, brokers, 3, nil)
	var all []kafkatest.Message
	for i, p := range reporttest.Traffic(records) {
		m := kafkatest.Message{Key: []byte(p.Id), Value: reporttest.Wire(t, p), Headers: map[string]string{"content-type": "application/protobuf"}}
		all = append(all, m)
		if i%100 == 0 {
			all = append(all, m) // delivered twice
		}
	}
	kafkatest.Produce(t, brokers, topic, all)
	dir := t.TempDir()
	args := []string{"report", "--brokers", brokers[0], "--topic", topic, "-o", "json"}
	onState := append(args, "--state", dir, "--group", "killed", "--save-each", "100ms")
	for i := range 2 {
		killMidway(t, onState, dir, int64(len(all)))
		t.Logf("killed for the %d. time at %d of %d messages", i+1, stored(t, dir), len(all))
	}
	got, want := finish(t, onState), finish(t, args)
	for name, r := range map[string]report.Result{"killed and resumed": got, "in one go": want} {
		m := r.Messages
		if m.Read != int64(len(all)) || m.Records != records || m.Duplicates != records/100 || !r.Complete || r.Removed != 0 {
			t.Errorf("%s: %+v", name, m)
		}
	}
	a, b := got.Rollouts[0], want.Rollouts[0]
	if a.Agree.Compared != b.Agree.Compared || a.Agree.Disagree != b.Agree.Disagree || a.Arms.Challenger.Calls != b.Arms.Challenger.Calls ||
		a.Outputs[1].Differences.Count != b.Outputs[1].Differences.Count {
		t.Errorf("%+v\nwant %+v", a.Agree, b.Agree)
	}
}

// killMidway starts a report and kills it when it has saved more than before.
func killMidway(t *testing.T, args []string, dir string, most int64) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	before := stored(t, dir)
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); stored(t, dir) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was saved")
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if now := stored(t, dir); now <= before || now >= most {
		t.Fatalf("it was to be killed midway, not between %d and %d of %d", before, now, most)
	}
}

// stored is how many messages the state stands for.
func stored(t *testing.T, dir string) (n int64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	var state struct{ Parts []struct{ Next int64 } }
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatalf("the state is damaged: %v", err)
	}
	for _, p := range state.Parts {
		n += p.Next
	}
	return n
}

func finish(t *testing.T, args []string) (r report.Result) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

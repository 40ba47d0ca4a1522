package report

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
	"github.com/understudy-serving/understudy/rollout"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rules are those of the model in reporttest.
func rules() map[string]Rules {
	return map[string]Rules{"risk": {
		Compare: []rollout.CompareRule{{Output: "probability", Kind: rollout.CompareScore, ATol: 0.05}, {Output: "label", Kind: rollout.CompareClass}},
		Judge: rollout.Rules{Alpha: 0.01, Segments: []string{"parameter:region"}, MaxCohorts: 2, Gates: []rollout.Gate{
			{Metric: rollout.ErrorRate, Margin: 0.02, Horizon: 5e9, Share: 0.5, MinRequests: 100, InShadow: true, InCanary: true, OnFail: rollout.RollBack},
			{Metric: rollout.Disagreement, Limit: 0.02, Horizon: 5e9, Share: 0.5, MinRequests: 100, InShadow: true, InCanary: true, OnFail: rollout.RollBack},
			{Metric: rollout.Drift, Output: "probability", Limit: 0.25, Horizon: 5e9, MinRequests: 100, InShadow: true, InCanary: true, OnFail: rollout.Hold},
		}},
	}}
}

// delimited writes records as protobuf's libraries do.
func delimited(t testing.TB, all []*recordv1.Prediction) []byte {
	var b bytes.Buffer
	for _, p := range all {
		w := reporttest.Wire(t, p)
		b.Write(binary.AppendUvarint(nil, uint64(len(w))))
		b.Write(w)
	}
	return b.Bytes()
}

// reportOf reads a file of records to its end.
func reportOf(t testing.TB, o Options, file []byte) Result {
	t.Helper()
	r := Run{Options: o, Source: NewFile(bytes.NewReader(file), int64(len(file)))}
	if err := r.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.Summarize("a file")
}

// golden holds text against a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("not as in %s; -update if it is meant\n%s", path, got)
	}
}

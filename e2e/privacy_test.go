package e2e

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/proto/inference"
)

// What the file keeps out of the records is not on the topic, though both models got
// it and their answers were compared; a reload changes it for the requests to come.
func TestRecordsWithoutInputs(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Record = `{inputs: digest, redactParameters: ["*"]}`
		p.MirrorCap = 100 // every request has its pair
	})
	before := th.mustServe(0, 20)
	th.eventually("the first are recorded", func() bool { return th.metric("understudy_records_delivered_total") == 20 })
	th.play.Record = ""
	cfg, err := config.Parse("understudy.yaml", th.yaml())
	if err != nil {
		t.Fatal(err)
	}
	if err := th.app.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	after := th.mustServe(20, 20)
	records := th.records()
	for n, r := range before {
		p := records[r.id]
		if p == nil || p.Comparison == nil || p.Champion.GetResponse() == nil {
			t.Fatalf("%s: record %v, want one with both answers compared", r.id, p)
		}
		contents := th.request(n).Inputs[0].Contents
		b, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := proto.Marshal(&inference.InferTensorContents{Fp32Contents: contents.Fp32Contents})
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("user-")) || bytes.Contains(b, packed[2:]) {
			t.Errorf("%s: the record has what was to be left out: %v", r.id, p)
		}
		sum := sha256.Sum256(packed)
		if got := p.Redaction.GetRequest(); len(got) != 1 || got[0].Name != "features" || !bytes.Equal(got[0].Sha256, sum[:]) {
			t.Errorf("%s: redaction %v", r.id, p.Redaction)
		}
	}
	for _, r := range after {
		if p := records[r.id]; p.GetRedaction() != nil || p.GetRequest().GetInputs()[0].Contents == nil || len(p.Request.Parameters) != 1 {
			t.Errorf("%s: behind the reload %v", r.id, p)
		}
	}
}

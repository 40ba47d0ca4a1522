package sink

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

const (
	secret = "S3CRET-4711-of-a-client" // in what is left out
	public = "public-0815-of-a-client" // in what stays
)

func word(s string) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
}

func typed(s string) *inference.InferTensorContents {
	return &inference.InferTensorContents{BytesContents: [][]byte{[]byte(s)}}
}

// confidential is an exchange with secrets in every place that the policies of these
// tests leave out: tensors "ssn" and parameters "user".
func confidential(t testing.TB, c *tally, raw bool, key string) *rollout.Exchange {
	t.Helper()
	x := exchange(t, c, key)
	parameters := map[string]*inference.InferParameter{"user": word(secret), "region": word(public)}
	request := &inference.ModelInferRequest{ModelName: "fraud", Id: "client-7", Parameters: parameters,
		Outputs: []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "score", Parameters: parameters}}}
	answer := &inference.ModelInferResponse{ModelName: "fraud", Parameters: parameters}
	for _, name := range []string{"ssn", "amount", "ssn"} {
		in := &inference.ModelInferRequest_InferInputTensor{Name: name, Datatype: "BYTES", Shape: []int64{1, 1}, Parameters: parameters}
		out := &inference.ModelInferResponse_InferOutputTensor{Name: name, Datatype: "BYTES", Shape: []int64{1}, Parameters: parameters}
		value := public
		if name == "ssn" {
			value = secret
		}
		if raw {
			request.RawInputContents = append(request.RawInputContents, []byte(value))
			answer.RawOutputContents = append(answer.RawOutputContents, []byte(value))
		} else {
			in.Contents, out.Contents = typed(value), typed(value)
		}
		request.Inputs, answer.Outputs = append(request.Inputs, in), append(answer.Outputs, out)
	}
	for place, m := range map[**rollout.Payload]proto.Message{&x.Request: request, &x.Champion.Response: answer, &x.Challenger.Response: answer} {
		(*place).Free()
		b := marshal(t, m)
		b = append(b, field(99, 'x')...) // nobody knows what that is
		b = appendBytes(b, 98, []byte(secret))
		*place = c.payload(b[:len(b)/2], b[len(b)/2:])
	}
	x.Champion.Status.Message = "can't parse " + secret
	x.Challenger.Status.Message = x.Champion.Status.Message
	x.Comparison = &rollout.Comparison{Outputs: []rollout.OutputComparison{
		{Output: "ssn", Kind: rollout.CompareClass, ChampionClass: secret, ChallengerClass: secret, Differing: 1},
		{Output: "amount", Kind: rollout.CompareClass, ChampionClass: public, ChallengerClass: public, Agree: true},
	}}
	return x
}

func policyOf(change func(*rollout.RecordPolicy)) *policies {
	p := rollout.RecordAll()
	change(&p)
	s := &Sink{}
	s.SetPolicies(map[string]rollout.RecordPolicy{"fraud": p})
	return &s.policies
}

// leaves are policies that leave out the secrets of confidential.
var leaves = map[string]func(*rollout.RecordPolicy){
	"drop by name": func(p *rollout.RecordPolicy) {
		p.Tensors, p.RedactParameters = []rollout.TensorPolicy{{Name: "ssn", As: rollout.Drop}}, []string{"user"}
	},
	"digest by name": func(p *rollout.RecordPolicy) {
		p.Tensors, p.RedactParameters = []rollout.TensorPolicy{{Name: "ssn", As: rollout.Digest}}, []string{"none", "user"}
	},
	"all but one by name": func(p *rollout.RecordPolicy) {
		p.Inputs, p.Outputs, p.RedactParameters = rollout.Drop, rollout.Digest, []string{"*"}
		p.Tensors = []rollout.TensorPolicy{{Name: "amount", As: rollout.Include}}
	},
	"not sampled": func(p *rollout.RecordPolicy) { p.Sample = 0 },
}

// nowhere fails if the secret is in b, in any of the forms that a record takes.
func nowhere(t *testing.T, what string, b []byte) {
	t.Helper()
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:20]} {
		if i := bytes.Index(b, []byte(form)); i >= 0 {
			t.Errorf("%s: the secret is at byte %d: %q", what, i, b[max(0, i-20):i+len(form)])
		}
	}
}

// What is left out is nowhere in the record: whole, cut at any size, cut again by the
// sender, as JSON, as a dead letter, or where a payload does not decode.
func TestSecretsAreNowhere(t *testing.T) {
	for name, change := range leaves {
		for _, raw := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, raw %v", name, raw), func(t *testing.T) {
				var c tally
				e := &encoder{limit: defaultRecordBytes, policies: policyOf(change)}
				record := func(x *rollout.Exchange) []byte {
					defer x.Free()
					b, _ := e.encode(x)
					return b
				}
				whole := record(confidential(t, &c, raw, id(1)))
				nowhere(t, "whole", whole)
				if p := decode(t, whole); !p.Redaction.Unsampled && !bytes.Contains(whole, []byte(public)) {
					t.Error("what may stay is gone too")
				}
				for e.limit = len(whole); e.limit > 400; e.limit -= 37 {
					nowhere(t, fmt.Sprintf("cut to %d", e.limit), record(confidential(t, &c, raw, id(1))))
				}
				e.limit = defaultRecordBytes
				for _, hard := range []bool{false, true} {
					smaller, err := recut(whole, hard)
					if err != nil {
						t.Fatal(err)
					}
					nowhere(t, "recut", smaller)
				}
				asJSON, _, err := (&envelope{maxBytes: 1 << 20}).toJSON(whole)
				if err != nil {
					t.Fatal(err)
				}
				nowhere(t, "JSON", asJSON)
				for end := range 40 { // the secret's head in a payload that breaks off
					x := confidential(t, &c, raw, id(1))
					b := x.Request.Bytes()
					x.Request.Free()
					x.Request = c.payload(b[:len(b)-end])
					nowhere(t, "broken off", record(x))
				}
				c.check(t)
			})
		}
	}
}

// Raw contents that do not match the tensors can't be told apart: none is recorded.
func TestRawContentsOutOfStep(t *testing.T) {
	var c tally
	for _, count := range []int{1, 2, 4} {
		x := confidential(t, &c, true, id(1))
		b := x.Request.Bytes()
		x.Request.Free()
		var m inference.ModelInferRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		m.RawInputContents = slices.Repeat([][]byte{[]byte(secret)}, count)
		x.Request = c.payload(marshal(t, &m))
		record, _ := (&encoder{limit: defaultRecordBytes, policies: policyOf(leaves["digest by name"])}).encode(x)
		x.Free()
		nowhere(t, fmt.Sprintf("%d raw contents for 3 tensors", count), record)
		if got := len(decode(t, record).Request.RawInputContents); got != count {
			t.Errorf("%d elements of raw contents, want %d empty ones", got, count)
		}
	}
	c.check(t)
}

func TestRedactedRecord(t *testing.T) {
	var c tally
	sum := sha256.Sum256([]byte(secret))
	x := confidential(t, &c, true, id(1))
	x.Segments = []rollout.Segment{{Parameter: true, Name: "user", Value: secret}, {Parameter: true, Name: "region", Value: public}, {Name: "user", Value: public}}
	record, cut := (&encoder{limit: defaultRecordBytes, policies: policyOf(leaves["digest by name"])}).encode(x)
	x.Free()
	p := decode(t, record)
	tensors := []*recordv1.RedactedTensor{{Name: "ssn", Sha256: sum[:]}, {Name: "ssn", Sha256: sum[:]}}
	same(t, p.Redaction, &recordv1.Redaction{Request: tensors, ChampionResponse: tensors, ChallengerResponse: tensors, Parameters: []string{"user"}})
	if cut || p.Cut != nil {
		t.Error("a redacted record is not a cut one")
	}
	if got := p.Request.RawInputContents; len(got) != 3 || len(got[0])+len(got[2]) != 0 || string(got[1]) != public {
		t.Errorf("raw contents %q: not in step with the tensors", got)
	}
	in := p.Request.Inputs[0]
	if in.Name != "ssn" || in.Datatype != "BYTES" || !slices.Equal(in.Shape, []int64{1, 1}) || len(in.Parameters) != 1 {
		t.Errorf("the tensor is %v", in)
	}
	if p.Request.Id != "client-7" || p.Request.Parameters["region"].GetStringParam() != public || len(p.Request.Outputs[0].Parameters) != 1 {
		t.Errorf("the request is %v", p.Request)
	}
	if len(p.Segments) != 2 || p.Segments["region"] != public || p.Segments["user"] != public {
		t.Errorf("segments %v: the parameter user is left out, the header is not", p.Segments)
	}
	if o := p.Comparison.Outputs; o[0].Differing != 1 || o[0].ChampionClass != "" || o[1].ChampionClass != public {
		t.Errorf("the comparison is %v", p.Comparison)
	}
	if p.Champion.Message != "" || p.Champion.Absent != "" {
		t.Errorf("the champion said %v", p.Champion)
	}
	c.check(t)
}

// A tensor that names its shape unpacked, and itself twice, keeps both; its last name counts.
func TestRewriteOddTensor(t *testing.T) {
	name := func(b []byte, s string) []byte { return appendBytes(b, tensorName, []byte(s)) }
	odd := protowire.AppendVarint(protowire.AppendTag(name(nil, "amount"), tensorDims, protowire.VarintType), 7)
	odd = appendBytes(name(odd, "ssn"), tensorContents, marshal(t, typed(secret)))
	w := rewriter{policy: &rollout.RecordPolicy{Inputs: rollout.Include, Tensors: []rollout.TensorPolicy{{Name: "ssn", As: rollout.Drop}}}}
	out, list := w.rewrite(appendBytes(nil, inferTensors, odd), true)
	var m inference.ModelInferRequest
	if err := proto.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if in := m.Inputs[0]; len(list) != 1 || in.Name != "ssn" || !slices.Equal(in.Shape, []int64{7}) || in.Contents != nil {
		t.Errorf("%v, %v", &m, list)
	}
}

// The same id is always in the sample or never, and the share is what was asked for.
func TestSample(t *testing.T) {
	in := 0
	for i := range 20_000 {
		yes := inSample(id(i), 2500)
		if yes != inSample(id(i), 2500) || yes && !inSample(id(i), 2600) {
			t.Fatalf("%s is in the sample by chance", id(i))
		}
		if yes {
			in++
		}
	}
	if in < 4800 || in > 5200 {
		t.Errorf("%d of 20,000 in a sample of 25%%", in)
	}
	var c tally
	half := &encoder{limit: defaultRecordBytes, policies: policyOf(func(p *rollout.RecordPolicy) { p.Sample = 5000 })}
	for i := range 50 {
		x := exchange(t, &c, id(i))
		x.Champion.Status.Message = public
		record, _ := half.encode(x)
		x.Free()
		want := prediction(id(i))
		want.Champion.Message = public
		if !inSample(id(i), 5000) {
			want.Request, want.Champion.Response, want.Challenger.Response, want.Champion.Message = nil, nil, nil, ""
			want.Redaction = &recordv1.Redaction{Unsampled: true}
		}
		same(t, decode(t, record), want)
	}
	c.check(t)
}

// A model that leaves the file keeps its policy, for its records may be on their way.
func TestPoliciesOverReloads(t *testing.T) {
	s := &Sink{}
	drop := rollout.RecordPolicy{Inputs: rollout.Drop, Outputs: rollout.Include, Sample: rollout.FullWeight}
	s.SetPolicies(map[string]rollout.RecordPolicy{"a": drop, "b": rollout.RecordAll()})
	s.SetPolicies(map[string]rollout.RecordPolicy{"b": rollout.RecordAll()})
	if s.policies.of("a") == nil || s.policies.of("b") != nil || s.policies.of("c") != nil {
		t.Error("the policy of a model that is gone went with it, or others came")
	}
	s.SetPolicies(map[string]rollout.RecordPolicy{"a": rollout.RecordAll()})
	if s.policies.of("a") != nil || s.policies.byModel.Load() != nil {
		t.Error("a policy that was taken back still holds")
	}
}

// Dead letters have no more than records do.
func TestDeadLettersKeepSecrets(t *testing.T) {
	dir := t.TempDir()
	var c tally
	s := on(t, newBroker(func(*delivery, int) error { return kafka.InvalidRecord }), onDisk(dir))
	p := rollout.RecordAll()
	leaves["drop by name"](&p)
	s.SetPolicies(map[string]rollout.RecordPolicy{"fraud": p})
	s.Accept()
	s.Record(confidential(t, &c, true, id(1)))
	eventually(t, "the dead letter", func() bool { return s.Snapshot().Dropped[DropDeadLetter] == 1 })
	nowhere(t, "dead letter", keptIn(t, filepath.Join(dir, "rejected"))[id(1)].Record)
	if err := closeIn(t, s, 1e10); err != nil {
		t.Error(err)
	}
	c.check(t)
}

// Whatever bytes are rewritten, the result decodes and has no contents.
func FuzzRewrite(f *testing.F) {
	var c tally
	for _, raw := range []bool{false, true} {
		f.Add(confidential(f, &c, raw, id(1)).Request.Bytes(), raw)
	}
	f.Fuzz(func(t *testing.T, b []byte, request bool) {
		as, m := inferResponse, proto.Message(&inference.ModelInferResponse{})
		if request {
			as, m = inferRequest, &inference.ModelInferRequest{}
		}
		if !decodable(b, as) {
			return
		}
		w := rewriter{policy: &rollout.RecordPolicy{Inputs: rollout.Drop, Outputs: rollout.Digest, RedactParameters: []string{"*"}}, hit: make([]bool, 1)}
		out, _ := w.rewrite(b, request)
		if !decodable(out, as) || proto.Unmarshal(out, m) != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("%x does not decode", out)
		}
		for _, in := range m.(interface {
			GetParameters() map[string]*inference.InferParameter
		}).GetParameters() {
			t.Fatalf("a parameter stayed: %v", in)
		}
		if r, ok := m.(*inference.ModelInferRequest); ok {
			for _, in := range r.Inputs {
				if in.Contents != nil || len(in.Parameters) > 0 {
					t.Fatalf("contents stayed: %v", in)
				}
			}
			if len(bytes.Join(r.RawInputContents, nil)) > 0 {
				t.Fatal("raw contents stayed")
			}
		}
	})
}

package sink

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/understudy-serving/understudy/proto/inference"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// encoded encodes x, frees it, and decodes the record with the stub.
func encoded(t *testing.T, limit int, x *rollout.Exchange) (*recordv1.Prediction, bool) {
	t.Helper()
	record, cut := (&encoder{limit: limit}).encode(x)
	x.Free()
	if len(record) > limit {
		t.Errorf("record of %d bytes, limit %d", len(record), limit)
	}
	return decode(t, record), cut
}

func decode(t *testing.T, record []byte) *recordv1.Prediction {
	t.Helper()
	var p recordv1.Prediction
	if err := proto.Unmarshal(record, &p); err != nil {
		t.Fatalf("the record does not decode: %v", err)
	}
	return &p
}

func same(t *testing.T, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", prototext.Format(got), prototext.Format(want))
	}
}

// prediction is what the record of exchange(t, c, id) says.
func prediction(id string) *recordv1.Prediction {
	return &recordv1.Prediction{
		Id: id, RequestId: "client-7", Model: "fraud", Revision: 12, Mode: recordv1.Mode_MODE_SHADOW,
		Assigned: recordv1.Arm_ARM_CHAMPION, Served: recordv1.Arm_ARM_CHAMPION, ReceivedAt: timestamppb.New(receivedAt),
		Request: request(64),
		Champion: &recordv1.ArmResult{Target: "dns:///fraud-v1:8081", Model: "fraud", Version: "1",
			Latency: durationpb.New(3 * time.Millisecond), Response: response("fraud", 0.25)},
		Challenger: &recordv1.ArmResult{Target: "dns:///fraud-v2:8081", Model: "fraud", Version: "2",
			Latency: durationpb.New(1500 * time.Millisecond), Response: response("fraud2", 0.5)},
		Comparison: &recordv1.Comparison{Outputs: []*recordv1.OutputComparison{{Output: "probability", Kind: "score",
			Finding: "values", Elements: 1, Differing: 1, MaxAbsDiff: 0.25, MeanAbsDiff: 0.25}}},
	}
}

func TestEncode(t *testing.T) {
	long := strings.Repeat("a long label ", 30)
	tests := []struct {
		name   string
		change func(x *rollout.Exchange, want *recordv1.Prediction)
	}{
		{"complete", func(*rollout.Exchange, *recordv1.Prediction) {}},
		{"in canary, with a fallback", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Mode, x.Weight, x.Assigned, x.Diverted = rollout.ModeCanary, 2500, rollout.Challenger, rollout.Fallback
			want.Mode, want.Weight, want.Assigned, want.Diverted = recordv1.Mode_MODE_CANARY, 2500, recordv1.Arm_ARM_CHALLENGER, "fallback"
		}},
		{"segments", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Segments = []rollout.Segment{{Parameter: true, Name: "region", Value: "eu"}, {Name: "x-tenant", Value: "a\xffb"}}
			want.Segments = map[string]string{"region": "eu", "x-tenant": "a\uFFFDb"}
		}},
		{"failed call", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Challenger.Response.Free()
			x.Challenger.Response, x.Challenger.Absent = nil, rollout.Failed
			x.Challenger.Status = rollout.Status{Code: rollout.Internal, Message: "out of memory"}
			x.Comparison = nil
			want.Challenger.Response, want.Challenger.Absent = nil, "failed"
			want.Challenger.Code, want.Challenger.Message = 13, "out of memory"
			want.Comparison = nil
		}},
		{"served by nobody, nothing known", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Free()
			*x = rollout.Exchange{ID: x.ID}
			*want = recordv1.Prediction{Id: x.ID, Champion: &recordv1.ArmResult{}, Challenger: &recordv1.ArmResult{}}
		}},
		{"empty payloads are there all the same", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Request.Free()
			x.Request = rollout.NewPayload(nil, nil)
			x.Champion.Response.Free()
			x.Champion.Response = rollout.NewPayload([][]byte{{}}, nil)
			want.Request, want.Champion.Response = &inference.ModelInferRequest{}, &inference.ModelInferResponse{}
		}},
		{"many outputs, long labels, odd numbers", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.Comparison = &rollout.Comparison{Agree: true, Error: "e", Outputs: []rollout.OutputComparison{
				{Output: "label", Kind: rollout.CompareClass, Agree: true, ChampionClass: long, ChallengerClass: long + long + long},
				{Output: "score", Kind: rollout.CompareScore, MaxAbsDiff: math.Inf(1), MeanAbsDiff: math.Copysign(0, -1), NonFinite: 1 << 60},
			}}
			want.Comparison = &recordv1.Comparison{Agree: true, Error: "e", Outputs: []*recordv1.OutputComparison{
				{Output: "label", Kind: "class", Agree: true, ChampionClass: long, ChallengerClass: long + long + long},
				{Output: "score", Kind: "score", MaxAbsDiff: math.Inf(1), MeanAbsDiff: math.Copysign(0, -1), NonFinite: 1 << 60},
			}}
		}},
		{"strings that are no UTF-8", func(x *rollout.Exchange, want *recordv1.Prediction) {
			x.RequestID, x.Champion.Status.Message = "a\xffb", "\xc3"
			x.Comparison.Outputs[0].ChampionClass = "\xf0\x28"
			want.RequestId, want.Champion.Message = "a\uFFFDb", "\uFFFD"
			want.Comparison.Outputs[0].ChampionClass = "\uFFFD("
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c tally
			x, want := exchange(t, &c, id(1)), prediction(id(1))
			tt.change(x, want)
			got, cut := encoded(t, defaultRecordBytes, x)
			same(t, got, want)
			if cut {
				t.Error("called cut")
			}
			c.check(t)
		})
	}
}

// The payloads stand in the record byte for byte, unknown fields, odd order and all.
func TestEncodeKeepsPayloadsAsReceived(t *testing.T) {
	odd := append(field(3, 'i'), field(99, 0xff, 0xfe)...)
	odd = append(odd, field(1, 'm')...)
	var c tally
	x := exchange(t, &c, id(1))
	x.Request.Free()
	x.Request = c.payload(odd[:2], odd[2:5], odd[5:])
	record, _ := (&encoder{limit: defaultRecordBytes}).encode(x)
	if got := splicedIn(record)[inRequest]; !bytes.Equal(got, odd) {
		t.Errorf("got %x, want %x", got, odd)
	}
	x.Free()
	c.check(t)
}

// The record's enums have the domain's numbers, which the encoder writes as they are.
func TestNumbersAreTheDomains(t *testing.T) {
	for m := rollout.ModeChampion; m <= rollout.ModeRolledBack; m++ {
		if got := "MODE_" + strings.ToUpper(m.String()); recordv1.Mode(m).String() != got {
			t.Errorf("mode %d is %s, want %s", m, recordv1.Mode(m), got)
		}
	}
	if int(recordv1.Arm_ARM_CHAMPION) != int(rollout.Champion) || int(recordv1.Arm_ARM_CHALLENGER) != int(rollout.Challenger) {
		t.Error("arms differ")
	}
}

// Garbage inside a well-formed top level would make the whole record undecodable.
func TestEncodeReplacesUndecodablePayloads(t *testing.T) {
	garbage := append(field(1, 'm'), field(5, 0x0a, 0x7f)...) // the tensor is cut off
	tests := []struct {
		name   string
		change func(x *rollout.Exchange, p *rollout.Payload)
		check  func(t *testing.T, got *recordv1.Prediction) *recordv1.Digest
	}{
		{"challenger's response", func(x *rollout.Exchange, p *rollout.Payload) {
			x.Challenger.Response.Free()
			x.Challenger.Response = p
		}, func(t *testing.T, got *recordv1.Prediction) *recordv1.Digest {
			if got.Challenger.Response != nil || got.Challenger.Absent != "malformed" {
				t.Errorf("challenger %v", got.Challenger)
			}
			same(t, got.Request, request(64))
			same(t, got.Champion, prediction("").Champion)
			return got.Cut.GetChallengerResponse()
		}},
		{"request", func(x *rollout.Exchange, p *rollout.Payload) {
			x.Request.Free()
			x.Request = p
		}, func(t *testing.T, got *recordv1.Prediction) *recordv1.Digest {
			if got.Request != nil {
				t.Errorf("request %v", got.Request)
			}
			same(t, got.Challenger, prediction("").Challenger)
			return got.Cut.GetRequest()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c tally
			x := exchange(t, &c, id(1))
			tt.change(x, c.payload(garbage[:4], garbage[4:]))
			got, cut := encoded(t, defaultRecordBytes, x)
			d := tt.check(t, got)
			if !cut || d.GetBytes() != uint64(len(garbage)) || !bytes.Equal(d.GetHead(), garbage) {
				t.Errorf("cut %v, digest %v", cut, d)
			}
			c.check(t)
		})
	}
}

// Whatever the bytes are, the record decodes and keeps its id.
func FuzzEncode(f *testing.F) {
	f.Add(marshal(f, request(8)), marshal(f, response("m", 1)), "id")
	f.Add([]byte{0x2a, 0x02, 0x0a, 0x7f}, []byte{0xff}, "\xff")
	f.Fuzz(func(t *testing.T, req, resp []byte, text string) {
		var c tally
		x := exchange(t, &tally{}, id(1))
		x.Request, x.Champion.Response = c.payload(req[:len(req)/2], req[len(req)/2:]), c.payload(resp)
		x.RequestID, x.Champion.Status.Message = text, text
		got, _ := encoded(t, minRecordBytes, x)
		if got.Id != id(1) {
			t.Errorf("id %q", got.Id)
		}
		c.check(t)
	})
}

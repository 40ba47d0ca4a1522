package reporttest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// Patience is how long a test waits for what takes long on a busy machine.
const Patience = 30 * time.Second

// Exchange is the exchange of which the sink makes the record p.
func Exchange(t testing.TB, p *recordv1.Prediction) *rollout.Exchange {
	t.Helper()
	x := &rollout.Exchange{ID: p.Id, RequestID: p.RequestId, Model: p.Model, Revision: p.Revision, Mode: rollout.Mode(p.Mode),
		Weight: rollout.Weight(p.Weight), Assigned: rollout.Arm(p.Assigned), Served: rollout.Arm(p.Served), Diverted: rollout.Reason(p.Diverted),
		ReceivedAt: p.ReceivedAt.AsTime(), Request: payload(t, p.Request), Champion: call(t, p.Champion), Challenger: call(t, p.Challenger)}
	for name, value := range p.Segments {
		x.Segments = append(x.Segments, rollout.Segment{Parameter: true, Name: name, Value: value})
	}
	if c := p.Comparison; c != nil {
		x.Comparison = &rollout.Comparison{Agree: c.Agree, Error: c.Error}
		for _, o := range c.Outputs {
			x.Comparison.Outputs = append(x.Comparison.Outputs, rollout.OutputComparison{Output: o.Output, Kind: rollout.CompareKind(o.Kind),
				Agree: o.Agree, Finding: rollout.Finding(o.Finding), Elements: o.Elements, Differing: o.Differing, MaxAbsDiff: o.MaxAbsDiff,
				MeanAbsDiff: o.MeanAbsDiff, NonFinite: o.NonFinite, ChampionClass: o.ChampionClass, ChallengerClass: o.ChallengerClass})
		}
	}
	return x
}

func call(t testing.TB, a *recordv1.ArmResult) rollout.Call {
	c := rollout.Call{Spec: rollout.Spec{Target: a.Target, Model: a.Model, Version: a.Version},
		Status: rollout.Status{Code: rollout.Code(a.Code), Message: a.Message}, Latency: a.Latency.AsDuration(), Absent: rollout.Reason(a.Absent)}
	if a.Response != nil {
		c.Response = payload(t, a.Response)
	}
	return c
}

func payload(t testing.TB, m proto.Message) *rollout.Payload {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return rollout.NewPayload([][]byte{b}, nil)
}

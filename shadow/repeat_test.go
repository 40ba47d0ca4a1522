package shadow

import (
	"context"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// champion answers a second time.
type champion func(*rollout.Payload) rollout.Reply

func (c champion) Call(_ context.Context, _ string, req *rollout.Payload, _ rollout.Metadata) rollout.Reply {
	return c(req)
}

func TestTheChampionIsAskedTwice(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		answer func(*theatre) rollout.Reply
		asked  bool
		agrees string // "yes", "no", or "" where nothing is heard
	}{
		"and agrees with itself":    {nil, func(s *theatre) rollout.Reply { return s.answer(0.25) }, true, "yes"},
		"and does not":              {nil, func(s *theatre) rollout.Reply { return s.answer(0.75) }, true, "no"},
		"and fails":                 {nil, func(*theatre) rollout.Reply { return rollout.Reply{Status: rollout.Status{Code: rollout.Unavailable}} }, true, ""},
		"and the comparison panics": {nil, func(*theatre) rollout.Reply { panic("upstream") }, true, ""},
		"unless it is not sampled":  {func(o *Options) { o.Repeat.Sampled = func(string) bool { return false } }, nil, false, ""},
		"unless there is no room":   {func(o *Options) { o.MaxInFlight = 1 }, nil, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := false
			var s *theatre
			s = newTheatre(t, func(o *Options) {
				o.Repeat = &Repeat{Spec: rollout.Spec{Model: "fraud-v1", Version: "1"}, Sampled: func(string) bool { return true },
					Upstream: champion(func(req *rollout.Payload) rollout.Reply {
						asked = true
						var got inference.ModelInferRequest
						if err := proto.Unmarshal(req.Bytes(), &got); err != nil || got.ModelName != "fraud-v1" || got.ModelVersion != "1" {
							t.Errorf("the champion got %v (%v), want its own names", &got, err)
						}
						return c.answer(s)
					})}
				if c.change != nil {
					c.change(o)
				}
			})
			x := s.exchange()
			s.mirror.Offer(x)
			records := s.settle()
			if asked != c.asked || len(records) != 1 {
				t.Fatalf("asked: %t, %d records", asked, len(records))
			}
			if o := s.outcomes[0]; o.Arm != rollout.Challenger || o.Comparison == nil {
				t.Errorf("the challenger's outcome comes first: %+v", o)
			}
			heard := ""
			if len(s.outcomes) == 2 {
				o := s.outcomes[1]
				if heard = "no"; o.Comparison.Agree {
					heard = "yes"
				}
				if o.Arm != rollout.Champion || !o.Mirrored || o.Blame != rollout.Nobody {
					t.Errorf("heard %+v", o)
				}
			}
			if heard != c.agrees {
				t.Errorf("heard %q, want %q", heard, c.agrees)
			}
			if len(s.reported) != 1 {
				t.Errorf("the breaker heard of %d calls, want the challenger's alone", len(s.reported))
			}
			before := s.freed.Load()
			records[0].Free()
			if held := s.freed.Load() - before; held != 3 {
				t.Errorf("the record held %d payloads, want 3", held)
			}
		})
	}
}

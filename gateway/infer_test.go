package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// TestModes plays one good request in each mode: who is called, who answers, what is
// recorded and observed.
func TestModes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		mode     rollout.Mode
		set      func(*Route)
		answers  rollout.Arm
		recorded bool
	}{
		{"champion", rollout.ModeChampion, nil, rollout.Champion, false},
		{"no rollout at all", 0, func(r *Route) { r.Challenger, r.Recorder = Arm{}, nil }, rollout.Champion, false},
		{"shadow", rollout.ModeShadow, nil, rollout.Champion, true},
		{"shadow without a recorder", rollout.ModeShadow, func(r *Route) { r.Recorder = nil }, rollout.Champion, false},
		{"canary, the champion's share", rollout.ModeCanary, func(r *Route) { r.Pick = func(string) rollout.Arm { return rollout.Champion } }, rollout.Champion, true},
		{"canary, the challenger's share", rollout.ModeCanary, nil, rollout.Challenger, true},
		{"canary without breaker, cap, observer", rollout.ModeCanary, func(r *Route) { r.Breaker, r.ChallengerInFlight = nil, nil }, rollout.Challenger, true},
		{"promoted", rollout.ModePromoted, nil, rollout.Challenger, false},
		{"rolled back", rollout.ModeRolledBack, nil, rollout.Champion, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newRig(t)
			r := s.route(tc.mode)
			if tc.set != nil {
				tc.set(&r)
			}
			s.serve(r)
			reply, out := s.infer(t.Context(), request(), nil)

			called, spared := s.champion, s.challenger
			version := "1"
			if tc.answers == rollout.Challenger {
				called, spared, version = s.challenger, s.champion, "2"
			}
			if len(called.calls) != 1 || len(spared.calls) != 0 {
				t.Fatalf("%d calls of %s, %d of the other", len(called.calls), called.name, len(spared.calls))
			}
			if c := called.calls[0]; c.req.ModelName != "inner-"+version || c.req.ModelVersion != version || c.req.Id != "client-1" || c.method != oip.MethodModelInfer {
				t.Errorf("the arm was asked for %s:%s, id %s, by %s", c.req.ModelName, c.req.ModelVersion, c.req.Id, c.method)
			}
			want := &inference.ModelInferResponse{ModelName: "fraud", ModelVersion: version, Id: "client-1", RawOutputContents: [][]byte{{1, 2, 3, 4}}}
			if !proto.Equal(out, want) {
				t.Errorf("answer %v, want %v", out, want)
			}
			if reply.Header["served-by"][0] != "inner-"+version || reply.Trailer["cost-bin"][0] != "\x00\xff" {
				t.Errorf("header %v, trailer %v", reply.Header, reply.Trailer)
			}
			if got := len(s.recorder.offered); (got == 1) != tc.recorded {
				t.Errorf("%d records", got)
			}
			if len(s.observed.seen) != 1 || s.observed.seen[0].Arm != tc.answers || s.observed.seen[0].Blame != rollout.Nobody {
				t.Errorf("outcomes %+v", s.observed.seen)
			}
			if got, want := s.metric("understudy_requests_total"), map[string]float64{tc.answers.String() + " OK fraud": 1}; !maps.Equal(got, want) {
				t.Errorf("requests %v, want %v", got, want)
			}
			if got, want := s.metric("understudy_request_duration_seconds"), map[string]float64{tc.answers.String() + " fraud": 1}; !maps.Equal(got, want) {
				t.Errorf("durations %v, want %v", got, want)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	s := newRig(t)
	r := s.route(rollout.ModeShadow)
	r.RoutingKey = []KeySource{{KeyParameter, "user_id"}}
	r.Segments = []KeySource{{KeyHeader, "x-team"}, {KeyHeader, "x-nobody"}, {KeyParameter, "user_id"}}
	s.serve(r)
	sent := request()
	before := time.Now()
	reply, _ := s.infer(t.Context(), sent, rollout.Metadata{"x-team": {"risk"}, "authorization": {"Bearer t"}, "content-type": {"application/grpc"},
		"x-understudy-mirror": {"1"}, IDHeader: {"mine"}})
	x := s.recorder.offered[0]
	for key := range s.champion.calls[0].md {
		if key != "x-team" && key != "authorization" {
			t.Errorf("the champion got %q from a client", key)
		}
	}

	if id, err := uuid.Parse(x.ID); err != nil || id.Version() != 7 || reply.Header[IDHeader][0] != x.ID {
		t.Errorf("id %q, in the header %q", x.ID, reply.Header[IDHeader])
	}
	if x.RequestID != "client-1" || x.Key != "u-1" || x.Model != "fraud" || x.Revision != 7 || x.Entered != 5 ||
		x.Mode != rollout.ModeShadow || x.Weight != 2500 || x.Assigned != rollout.Champion || x.Served != rollout.Champion || x.Diverted != "" {
		t.Errorf("record %+v", x)
	}
	if want := []rollout.Segment{{Name: "x-team", Value: "risk"}, {Parameter: true, Name: "user_id", Value: "u-1"}}; !slices.Equal(x.Segments, want) {
		t.Errorf("segments %v, want %v", x.Segments, want)
	}
	if x.ReceivedAt.Before(before) || x.ReceivedAt.After(time.Now()) {
		t.Errorf("received at %s", x.ReceivedAt)
	}
	if want := (rollout.Metadata{"x-team": {"risk"}, "authorization": {"Bearer t"}}); !maps.EqualFunc(x.Metadata, want, slices.Equal[[]string]) {
		t.Errorf("metadata %v, want %v", x.Metadata, want)
	}
	got := new(inference.ModelInferRequest)
	if err := proto.Unmarshal(x.Request.Bytes(), got); err != nil || !proto.Equal(got, sent) {
		t.Errorf("request %v, %v: want it as the client sent it", got, err)
	}
	answer := new(inference.ModelInferResponse)
	if err := proto.Unmarshal(x.Champion.Response.Bytes(), answer); err != nil || answer.ModelName != "inner-1" || answer.Id != "server-made" {
		t.Errorf("response %v, %v: want it as the arm sent it", answer, err)
	}
	if x.Champion.Spec != r.Champion.Spec || x.Champion.Latency <= 0 || !x.Champion.Answered() {
		t.Errorf("champion %+v", x.Champion)
	}
	if want := (rollout.Call{Spec: r.Challenger.Spec, Absent: rollout.NotCalled}); x.Challenger.Spec != want.Spec || x.Challenger.Absent != want.Absent || x.Challenger.Response != nil {
		t.Errorf("challenger %+v, want %+v", x.Challenger, want)
	}
}

// TestChampionFails: one attempt, its status as it is, never the challenger; and still
// one record and one outcome.
func TestChampionFails(t *testing.T) {
	for _, tc := range []struct {
		name     string
		champion func(*rig) script
		want     rollout.Status
		absent   rollout.Reason
		blame    rollout.Blame
		served   rollout.Arm
	}{
		{"down", says(fails(rollout.Unavailable)), rollout.Status{Code: rollout.Unavailable, Message: "as the server said", Details: []byte("details")},
			rollout.Failed, rollout.OnChallenger, rollout.Champion},
		{"refuses", says(fails(rollout.InvalidArgument)), rollout.Status{Code: rollout.InvalidArgument, Message: "as the server said", Details: []byte("details")},
			rollout.Failed, rollout.Undecided, rollout.Champion},
		{"speaks of a deadline that nobody set", says(fails(rollout.DeadlineExceeded)), rollout.Status{Code: rollout.DeadlineExceeded, Message: "as the server said", Details: []byte("details")},
			rollout.Timeout, rollout.Undecided, rollout.Champion},
		{"a code that gRPC does not know", says(fails(99)), rollout.Status{Code: 99, Message: "as the server said", Details: []byte("details")},
			rollout.Failed, rollout.Undecided, rollout.Champion},
		{"garbles", func(s *rig) script { return s.garbles },
			rollout.Status{Code: rollout.Internal, Message: `the answer of model "fraud" (champion) is not a well-formed ModelInferResponse`},
			rollout.Malformed, rollout.OnChallenger, rollout.Champion},
		{"panics", says(panics), rollout.Status{Code: rollout.Internal, Message: "the gateway failed on this request; its log says why"},
			rollout.Failed, rollout.OnCaller, rollout.NoArm},
	} {
		for _, mode := range []rollout.Mode{rollout.ModeShadow, rollout.ModeCanary} {
			t.Run(fmt.Sprintf("%s in %s", tc.name, mode), func(t *testing.T) {
				s := newRig(t)
				s.champion.does = tc.champion(s)
				r := s.route(mode)
				r.Pick = func(string) rollout.Arm { return rollout.Champion }
				s.serve(r)
				reply, _ := s.infer(t.Context(), request(), nil)
				if got := reply.Status; got.Code != tc.want.Code || got.Message != tc.want.Message || string(got.Details) != string(tc.want.Details) {
					t.Errorf("status %+v, want %+v", got, tc.want)
				}
				if len(reply.Header[IDHeader]) != 1 {
					t.Error("no id in the header")
				}
				if len(s.champion.calls) != 1 || len(s.challenger.calls) != 0 {
					t.Errorf("%d and %d calls", len(s.champion.calls), len(s.challenger.calls))
				}
				x := s.recorder.offered[0]
				if x.Champion.Absent != tc.absent || x.Champion.Response != nil || x.Served != tc.served {
					t.Errorf("record: %+v served by %s", x.Champion, x.Served)
				}
				if o := s.observed.seen[0]; len(s.observed.seen) != 1 || o.Arm != rollout.Champion || o.Blame != tc.blame {
					t.Errorf("outcomes %+v", s.observed.seen)
				}
				wantCode := tc.want.Code.String()
				if tc.want.Code == 99 {
					wantCode = "OTHER"
				}
				if got, want := s.metric("understudy_requests_total"), map[string]float64{tc.served.String() + " " + wantCode + " fraud": 1}; !maps.Equal(got, want) {
					t.Errorf("requests %v, want %v", got, want)
				}
			})
		}
	}
}

func TestPromotedHasNoNet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t)
		s.challenger.does = fails(rollout.Unavailable)
		s.breaker.open = true
		r := s.route(rollout.ModePromoted)
		r.ChallengerTimeout = time.Millisecond
		r.ChallengerInFlight.acquire()
		s.serve(r)
		reply, _ := s.infer(t.Context(), request(), nil)
		if reply.Status.Code != rollout.Unavailable || len(s.champion.calls) != 0 {
			t.Errorf("status %s, %d calls of the old champion", reply.Status.Code, len(s.champion.calls))
		}
		if got := s.challenger.calls[0].deadline; got != 0 {
			t.Errorf("the promoted arm was given %s", got)
		}
	})
}

func TestClientGoneInShadowIsStillRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRig(t)
		s.champion.does = hangs
		s.serve(s.route(rollout.ModeShadow))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reply, _ := s.infer(ctx, request(), nil)
		x := s.recorder.offered[0]
		if reply.Status.Code != rollout.DeadlineExceeded || x.Served != rollout.NoArm || x.Champion.Absent != rollout.Timeout || x.Champion.Latency != time.Second {
			t.Errorf("status %s, record %+v", reply.Status.Code, x)
		}
		if o := s.observed.seen[0]; o.Blame != rollout.OnCaller {
			t.Errorf("outcome %+v", o)
		}
	})
}

func TestNamesAndIDs(t *testing.T) {
	for _, tc := range []struct {
		name       string
		id         string
		spec       rollout.Spec
		server     *inference.ModelInferResponse
		wantAsked  string
		wantAnswer string
	}{
		{"all mapped", "client-1", rollout.Spec{Model: "inner", Version: "1"}, &inference.ModelInferResponse{ModelName: "inner", ModelVersion: "1", Id: "x"}, "inner:1", "fraud:1 client-1"},
		{"the arm's version, whatever the server says", "c", rollout.Spec{Model: "inner", Version: "1"}, &inference.ModelInferResponse{ModelName: "inner", ModelVersion: "latest"}, "inner:1", "fraud:1 c"},
		{"the server's version, where the arm has none", "c", rollout.Spec{Model: "inner"}, &inference.ModelInferResponse{ModelName: "inner", ModelVersion: "17"}, "inner:", "fraud:17 c"},
		{"no version at all", "c", rollout.Spec{Model: "inner"}, &inference.ModelInferResponse{ModelName: "inner"}, "inner:", "fraud: c"},
		{"the server's id, where the client sent none", "", rollout.Spec{Model: "fraud"}, &inference.ModelInferResponse{ModelName: "fraud", Id: "made-up"}, "fraud:", "fraud: made-up"},
		{"nothing to change", "c", rollout.Spec{Model: "fraud"}, &inference.ModelInferResponse{ModelName: "fraud", Id: "c"}, "fraud:", "fraud: c"},
		{"an empty answer", "c", rollout.Spec{Model: "fraud"}, &inference.ModelInferResponse{}, "fraud:", "fraud: c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newRig(t)
			s.champion.does = func(context.Context, *inference.ModelInferRequest) rollout.Reply {
				return rollout.Reply{Payload: s.payload(tc.server)}
			}
			s.serve(Route{Model: "fraud", Champion: Arm{tc.spec, s.champion}})
			req := request()
			req.Id = tc.id
			_, out := s.infer(t.Context(), req, nil)
			if got := out.ModelName + ":" + out.ModelVersion + " " + out.Id; got != tc.wantAnswer {
				t.Errorf("answer %q, want %q", got, tc.wantAnswer)
			}
			if c := s.champion.calls[0].req; c.ModelName+":"+c.ModelVersion != tc.wantAsked || c.Id != tc.id {
				t.Errorf("asked for %s:%s, id %q", c.ModelName, c.ModelVersion, c.Id)
			}
		})
	}
}

func TestRoutingKey(t *testing.T) {
	sources := []KeySource{{KeyParameter, "empty"}, {KeyHeader, "X-User-Id"}, {KeyParameter, "user_id"}}
	for _, tc := range []struct {
		name    string
		sources []KeySource
		md      rollout.Metadata
		want    string
	}{
		{"the first that is present", sources, rollout.Metadata{"x-user-id": {"h-1"}}, "h-1"},
		{"the next, and an empty one is none", sources, rollout.Metadata{"x-user-id": {""}}, "u-1"},
		{"none of them", sources[:2], nil, ""},
		{"none configured", nil, rollout.Metadata{"x-user-id": {"h-1"}}, ""},
	} {
		for _, mode := range []rollout.Mode{rollout.ModeShadow, rollout.ModeCanary} {
			t.Run(tc.name+" in "+mode.String(), func(t *testing.T) {
				s := newRig(t)
				r := s.route(mode)
				r.RoutingKey = tc.sources
				picked := "not asked"
				r.Pick = func(key string) rollout.Arm {
					picked = key
					return rollout.Champion
				}
				s.serve(r)
				s.infer(t.Context(), request(), tc.md)
				x := s.recorder.offered[0]
				want := tc.want
				if want == "" {
					want = x.ID
				}
				if x.Key != want || mode == rollout.ModeCanary && picked != want {
					t.Errorf("key %q, picked by %q, want %q", x.Key, picked, want)
				}
			})
		}
	}
}

// issued keeps the tickets that were asked for.
type issued []rollout.Ticket

func (i *issued) Issue(t rollout.Ticket) string {
	*i = append(*i, t)
	return "ticket"
}

// A ticket is metadata of the client's answer, so that a segment's value as long as a header
// may be must not get into it whole; and it stays one that can't be a cohort's name.
func TestTicketsAreShort(t *testing.T) {
	s := newRig(t)
	r := s.route(rollout.ModeCanary)
	r.Segments = []KeySource{{KeyParameter, "user_id"}}
	var tickets issued
	r.Tickets, r.Rollout, r.Step = &tickets, 7, 2
	s.serve(r)
	sent := request()
	sent.Parameters["user_id"].ParameterChoice = &inference.InferParameter_StringParam{StringParam: strings.Repeat("x", 100_000)}
	reply, _ := s.infer(t.Context(), sent, rollout.Metadata{})
	if got := reply.Header[TicketHeader]; len(got) != 1 || got[0] != "ticket" || len(tickets) != 1 {
		t.Fatalf("header %v, %d tickets", got, len(tickets))
	}
	got := tickets[0]
	if n := len(got.Segments[0]); n != rollout.MaxSegmentValue+1 {
		t.Errorf("a segment of %d bytes, want %d", n, rollout.MaxSegmentValue+1)
	}
	if id := reply.Header[IDHeader]; got.Rollout != 7 || got.Index != 2 || got.Model != r.Model || uuid.UUID(got.ID).String() != id[0] {
		t.Errorf("ticket %+v for %v", got, id)
	}
}

package gateway

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

func TestNewTableRefuses(t *testing.T) {
	s := newRig(t)
	for want, breakIt := range map[string]func(*Route){
		"want a name":                   func(r *Route) { r.Model = "" },
		"champion has no upstream":      func(r *Route) { r.Champion.Upstream = nil },
		"challenger has no upstream":    func(r *Route) { r.Challenger.Upstream = nil },
		"needs Pick":                    func(r *Route) { r.Pick = nil },
		"parameter:NAME":                func(r *Route) { r.RoutingKey = []KeySource{{"cookie", "id"}} },
		`routing key "header:": want p`: func(r *Route) { r.RoutingKey = []KeySource{{KeyHeader, ""}} },
	} {
		r := s.route(rollout.ModeCanary)
		breakIt(&r)
		if _, err := s.g.NewTable(r); !errors.Is(err, ErrInvalidRoute) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	r := s.route(rollout.ModeShadow)
	if _, err := s.g.NewTable(r, r); !errors.Is(err, ErrInvalidRoute) || !strings.Contains(err.Error(), "twice") {
		t.Errorf("twice the same model: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for _, tc := range []struct {
		mode                 rollout.Mode
		champion, challenger string
		asked                string
		want                 string // of the refusal; empty: served
	}{
		{rollout.ModeCanary, "1", "2", "", ""},
		{rollout.ModeCanary, "1", "2", "1", ""},
		{rollout.ModeCanary, "1", "2", "2", `served: "1", or leave the version empty`},
		{rollout.ModeShadow, "", "2", "2", "leave the version empty"},
		{rollout.ModeRolledBack, "1", "2", "2", `served: "1", or leave the version empty`},
		{rollout.ModePromoted, "1", "2", "2", ""},
		{rollout.ModePromoted, "1", "2", "1", ""},
		{rollout.ModePromoted, "1", "2", "", ""},
		{rollout.ModePromoted, "1", "2", "3", `served: "1", "2", or leave the version empty`},
		{rollout.ModePromoted, "1", "1", "3", `served: "1", or leave the version empty`},
	} {
		t.Run(fmt.Sprintf("%s, %q and %q, asked for %q", tc.mode, tc.champion, tc.challenger, tc.asked), func(t *testing.T) {
			s := newRig(t)
			r := s.route(tc.mode)
			r.Champion.Spec.Version, r.Challenger.Spec.Version = tc.champion, tc.challenger
			s.serve(r)
			req := request()
			req.ModelVersion = tc.asked
			reply, _ := s.infer(t.Context(), req, nil)
			if tc.want == "" && reply.Status.Code != rollout.OK {
				t.Errorf("status %+v", reply.Status)
			}
			if tc.want != "" && (reply.Status.Code != rollout.NotFound || !strings.HasSuffix(reply.Status.Message, tc.want)) {
				t.Errorf("status %+v, want NOT_FOUND: %s", reply.Status, tc.want)
			}
			// The other methods go by the same rule.
			ready := s.payload(&inference.ModelReadyRequest{Name: "fraud", Version: tc.asked})
			defer ready.Free()
			if got := s.g.modelReady(t.Context(), ready, nil); got.Status.Code != reply.Status.Code {
				t.Errorf("ModelReady: %s", got.Status.Code)
			} else {
				got.Payload.Free()
			}
		})
	}
}

func TestNotFoundListsABoundedNumberOfModels(t *testing.T) {
	s := newRig(t)
	var routes []Route
	for i := range 25 {
		r := s.route(rollout.ModeShadow)
		r.Model = fmt.Sprintf("m%02d", i)
		routes = append(routes, r)
	}
	s.serve(routes...)
	req := request()
	req.ModelName = strings.Repeat("ü", 5000)
	reply, _ := s.infer(t.Context(), req, nil)
	if m := reply.Status.Message; !strings.HasSuffix(m, "m18, m19 and 5 more") || len(m) > 1000 {
		t.Errorf("message %q", m)
	}
	s.serve()
	reply, _ = s.infer(t.Context(), req, nil)
	if m := reply.Status.Message; !strings.HasSuffix(m, "models: none") {
		t.Errorf("message %q", m)
	}
}

func TestInFlight(t *testing.T) {
	f := NewInFlight(3)
	var wg sync.WaitGroup
	admitted := make(chan bool, 100)
	for range cap(admitted) {
		wg.Go(func() { admitted <- f.acquire() })
	}
	wg.Wait()
	close(admitted)
	n := 0
	for ok := range admitted {
		if ok {
			n++
		}
	}
	if n != 3 || f.Current() != 3 {
		t.Errorf("%d admitted, %d in flight, want 3", n, f.Current())
	}
	f.SetLimit(4)
	if !f.acquire() || f.acquire() {
		t.Error("a raised cap did not admit exactly one more")
	}
	f.SetLimit(0)
	if !f.acquire() {
		t.Error("without a cap there was no place")
	}
	for range 5 {
		f.release()
	}
	if f.Current() != 0 {
		t.Errorf("%d left", f.Current())
	}
}

func TestInFlightMetric(t *testing.T) {
	s := newRig(t)
	r := s.route(rollout.ModeCanary)
	r.ChallengerInFlight.acquire()
	plain := s.route(rollout.ModeChampion)
	plain.Model, plain.ChallengerInFlight = "plain", nil
	s.serve(r, plain)
	if got, want := s.metric("understudy_challenger_in_flight"), map[string]float64{"fraud": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestIDs(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123)
	seen := make(map[string]bool)
	for range 1000 {
		s := newID(at).String()
		id, err := uuid.Parse(s)
		if err != nil || id.Version() != 7 || id.Variant() != uuid.RFC4122 || seen[s] {
			t.Fatalf("%q: %v", s, err)
		}
		if sec, nsec := id.Time().UnixTime(); time.Unix(sec, nsec).UnixMilli() != at.UnixMilli() {
			t.Fatalf("%s is of %s", s, time.Unix(sec, nsec))
		}
		seen[s] = true
	}
	if a, b := newID(at).String(), newID(at.Add(time.Millisecond)).String(); a >= b {
		t.Errorf("%s is not before %s", a, b)
	}
}

func TestForwardedMetadata(t *testing.T) {
	md := rollout.Metadata{
		":authority": {"gateway"}, "content-type": {"application/grpc"}, "user-agent": {"x"}, "te": {"trailers"},
		"grpc-accept-encoding": {"gzip"}, "content-length": {"12"},
		"authorization": {"Bearer t"}, "x-user_id.v1": {"a b~", ""}, "blob-bin": {"\x00\xff\n"}, "traceparent": {"00-1"},
	}
	if err := forward(md); err != nil {
		t.Fatal(err)
	}
	want := []string{"authorization", "x-user_id.v1", "blob-bin", "traceparent"}
	for _, k := range want {
		if _, ok := md[k]; !ok {
			t.Errorf("%s is missing", k)
		}
	}
	if len(md) != len(want) {
		t.Errorf("got %v, want only %v", md, want)
	}
	for _, bad := range []rollout.Metadata{{"x-a": {"ok", "tab\there"}}, {"x-a": {"J\xf6rg"}}, {"x!a": {"v"}}, {"x-a": {"\x7f"}}} {
		if forward(bad) == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestModelMethods(t *testing.T) {
	for _, mode := range []rollout.Mode{rollout.ModeCanary, rollout.ModePromoted} {
		t.Run(mode.String(), func(t *testing.T) {
			s := newRig(t)
			s.serve(s.route(mode))
			asked, other, inner := s.champion, s.challenger, "inner-1"
			if mode == rollout.ModePromoted {
				asked, other, inner = s.challenger, s.champion, "inner-2"
			}
			asked.does = s.answersModel(&inference.ModelReadyResponse{Ready: true})
			ready := s.payload(&inference.ModelReadyRequest{Name: "fraud"})
			defer ready.Free()
			reply := s.g.modelReady(t.Context(), ready, rollout.Metadata{"te": {"trailers"}, "x-a": {"1"}})
			if got := new(inference.ModelReadyResponse); s.read(reply, got) && !got.Ready {
				t.Error("not ready")
			}
			asked.does = s.answersModel(&inference.ModelMetadataResponse{Name: inner, Versions: []string{"1"}, Platform: "go"})
			question := s.payload(&inference.ModelMetadataRequest{Name: "fraud", Version: "1"})
			defer question.Free()
			reply = s.g.modelMetadata(t.Context(), question, nil)
			if got := new(inference.ModelMetadataResponse); s.read(reply, got) && (got.Name != "fraud" || got.Platform != "go" || got.Versions[0] != "1") {
				t.Errorf("metadata %v", got)
			}
			// Field 1 and 2 are name and version in all these messages.
			if c := asked.calls; len(c) != 2 || len(other.calls) != 0 || c[0].req.ModelName != inner || c[1].req.ModelName != inner ||
				c[0].method != oip.MethodModelReady || c[1].method != oip.MethodModelMetadata || len(c[0].md) != 1 {
				t.Errorf("calls %+v", c)
			}
		})
	}
}

func TestModelMethodsFail(t *testing.T) {
	s := newRig(t)
	s.serve(s.route(rollout.ModeShadow))
	s.champion.does = fails(rollout.NotFound)
	ask := func(body string, md rollout.Metadata) rollout.Status {
		req := s.bytes([]byte(body))
		defer req.Free()
		reply := s.g.modelMetadata(t.Context(), req, md)
		if reply.Payload != nil {
			t.Error("payload with an error")
		}
		return reply.Status
	}
	if got := ask("\x0a\x05fraud", nil); got.Code != rollout.NotFound || got.Message != "as the server said" {
		t.Errorf("the arm's refusal became %+v", got)
	}
	if got := ask("\x0a\x04mail", nil); got.Code != rollout.NotFound || !strings.Contains(got.Message, "models: fraud") {
		t.Errorf("unknown model: %+v", got)
	}
	if got := ask("\x0a\x04m", nil); got.Code != rollout.InvalidArgument {
		t.Errorf("malformed: %+v", got)
	}
	if got := ask("\x0a\x05fraud", rollout.Metadata{"x": {"\x01"}}); got.Code != rollout.InvalidArgument {
		t.Errorf("bad metadata: %+v", got)
	}
	s.champion.does = s.garbles
	if got := ask("\x0a\x05fraud", nil); got.Code != rollout.Internal || !strings.Contains(got.Message, "ModelMetadataResponse") {
		t.Errorf("garbled: %+v", got)
	}
}

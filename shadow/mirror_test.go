package shadow

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// theatre is a mirror with everything around it played by the test.
type theatre struct {
	t      *testing.T
	mirror *Mirror
	call   func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply
	closed bool // what the breaker says

	mu       sync.Mutex
	records  []*rollout.Exchange
	outcomes []rollout.Outcome
	reported []rollout.Outcome // to the breaker
	skipped  map[rollout.Reason]int
	compared []*rollout.Comparison

	freed atomic.Int32
}

func (s *theatre) Call(ctx context.Context, _ string, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	return s.call(ctx, req, md)
}

func (s *theatre) Allow() (func(rollout.Outcome), bool) {
	return func(o rollout.Outcome) { s.mu.Lock(); s.reported = append(s.reported, o); s.mu.Unlock() }, !s.closed
}

func (s *theatre) Observe(o rollout.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = append(s.outcomes, o)
	if o.Comparison != nil {
		s.compared = append(s.compared, o.Comparison)
	}
}

func (s *theatre) Skipped(why rollout.Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped[why]++
}

func (s *theatre) Record(x *rollout.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, x)
}

func newTheatre(t *testing.T, change func(*Options)) *theatre {
	s := &theatre{t: t, skipped: map[rollout.Reason]int{}}
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { return s.answer(0.25) }
	comparer, err := NewComparer([]rollout.CompareRule{{Output: "p", Kind: rollout.CompareScore, ATol: 0.01}})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Model: "fraud", Spec: rollout.Spec{Target: "t", Model: "fraud-v2", Version: "2"},
		Upstream: s, Breaker: s, Observer: s, Recorder: s, Comparer: comparer,
		Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(prometheus.NewRegistry()),
		Sampled:  func(string) bool { return true },
		Busy:     func() bool { return false },
		Outgoing: func(md rollout.Metadata) rollout.Metadata { return rollout.Metadata{"x-marked": {"1"}} },
		Timeout:  time.Second, MaxInFlight: 4, MaxBytes: 1 << 20,
	}
	if change != nil {
		change(&o)
	}
	s.mirror = NewMirror(o)
	return s
}

func (s *theatre) payload(m proto.Message) *rollout.Payload {
	b, err := proto.Marshal(m)
	if err != nil {
		s.t.Fatal(err)
	}
	return rollout.NewPayload([][]byte{b}, func() { s.freed.Add(1) })
}

func (s *theatre) response(p float32) *rollout.Payload {
	return s.payload(&inference.ModelInferResponse{ModelName: "m", Outputs: []*inference.ModelInferResponse_InferOutputTensor{{
		Name: "p", Datatype: "FP32", Shape: []int64{1}, Contents: &inference.InferTensorContents{Fp32Contents: []float32{p}}}}})
}

func (s *theatre) answer(p float32) rollout.Reply { return rollout.Reply{Payload: s.response(p)} }

// exchange is one request that the champion answered with 0.25.
func (s *theatre) exchange() *rollout.Exchange {
	return &rollout.Exchange{
		ID: "id", Model: "fraud", Mode: rollout.ModeShadow, Assigned: rollout.Champion, Served: rollout.Champion,
		Request:    s.payload(&inference.ModelInferRequest{ModelName: "fraud", Id: "mine"}),
		Champion:   rollout.Call{Response: s.response(0.25)},
		Challenger: rollout.Call{Absent: rollout.NotCalled},
	}
}

// settle ends the mirror and returns what was recorded.
func (s *theatre) settle() []*rollout.Exchange {
	s.mirror.Close(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records
}

func TestMirrorRecordsBothPredictions(t *testing.T) {
	s := newTheatre(t, nil)
	var got *inference.ModelInferRequest
	var marked rollout.Metadata
	s.call = func(_ context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
		got, marked = &inference.ModelInferRequest{}, md
		if err := proto.Unmarshal(req.Bytes(), got); err != nil {
			t.Error(err)
		}
		return s.answer(0.5)
	}
	s.mirror.Offer(s.exchange())
	records := s.settle()
	if len(records) != 1 {
		t.Fatalf("%d records, want 1", len(records))
	}
	x := records[0]
	if got.ModelName != "fraud-v2" || got.ModelVersion != "2" || got.Id != "mine" {
		t.Errorf("the challenger got %v, want its own names and the client's id", got)
	}
	if marked.Get("x-marked"); len(marked) != 1 {
		t.Errorf("metadata %v, want what Outgoing made", marked)
	}
	if !x.Challenger.Answered() || x.Challenger.Spec.Version != "2" || x.Comparison == nil || x.Comparison.Agree {
		t.Errorf("challenger %+v, comparison %+v: want an answer that disagrees", x.Challenger, x.Comparison)
	}
	if len(s.reported) != 1 || s.reported[0].Blame != rollout.Nobody || !s.reported[0].Mirrored {
		t.Errorf("the breaker heard %+v, want one mirrored success", s.reported)
	}
	x.Free()
	if s.freed.Load() != 3 {
		t.Errorf("%d payloads freed behind the record, want all 3", s.freed.Load())
	}
}

func TestMirrorSkips(t *testing.T) {
	hold := make(chan struct{})
	tests := []struct {
		name   string
		change func(*Options)
		before func(*theatre)
		want   rollout.Reason
	}{
		{"not sampled", func(o *Options) { o.Sampled = func(string) bool { return false } }, nil, rollout.NotSampled},
		{"a busy gateway", func(o *Options) { o.Busy = func() bool { return true } }, nil, rollout.Shed},
		{"breaker open", nil, func(s *theatre) { s.closed = true }, rollout.BreakerOpen},
		{"stopped", nil, func(s *theatre) { s.mirror.Stop() }, rollout.NotCalled},
		{"too many bytes", func(o *Options) { o.MaxBytes = 10 }, nil, rollout.Shed},
		{"too many calls", func(o *Options) { o.MaxInFlight = 1 }, func(s *theatre) {
			s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { <-hold; return s.answer(0.25) }
			s.mirror.Offer(s.exchange())
		}, rollout.Shed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTheatre(t, tt.change)
			if tt.before != nil {
				tt.before(s)
			}
			s.mirror.Offer(s.exchange())
			s.mu.Lock()
			x, skipped := s.records[0], s.skipped[tt.want]
			s.mu.Unlock()
			if x.Challenger.Absent != tt.want || skipped != 1 || x.Challenger.Response != nil {
				t.Errorf("absent %q, counted %d times: want %q once", x.Challenger.Absent, skipped, tt.want)
			}
			if tt.name == "too many calls" {
				close(hold)
			}
			s.settle()
			if n := s.mirror.bytes.Load(); n != 0 || s.mirror.inFlight.Load() != 0 {
				t.Errorf("%d bytes and %d calls still reserved", n, s.mirror.inFlight.Load())
			}
		})
	}
}

func TestMirrorJudgesTheChallenger(t *testing.T) {
	status := func(c rollout.Code) rollout.Reply { return rollout.Reply{Status: rollout.Status{Code: c}} }
	tests := []struct {
		name     string
		reply    rollout.Reply
		champion rollout.Code
		blame    rollout.Blame
		absent   rollout.Reason
	}{
		{"unavailable", status(rollout.Unavailable), rollout.OK, rollout.OnChallenger, rollout.Failed},
		{"unavailable where the champion failed too", status(rollout.Unavailable), rollout.Unavailable, rollout.OnChallenger, rollout.Failed},
		{"speaks of a deadline that nobody set", status(rollout.DeadlineExceeded), rollout.OK, rollout.OnChallenger, rollout.Timeout},
		{"both speak of one", status(rollout.DeadlineExceeded), rollout.DeadlineExceeded, rollout.OnCaller, rollout.Timeout},
		{"refuses what the champion takes", status(rollout.InvalidArgument), rollout.OK, rollout.OnChallenger, rollout.Failed},
		{"refuses what the champion refuses", status(rollout.InvalidArgument), rollout.InvalidArgument, rollout.OnCaller, rollout.Failed},
		{"garbage", rollout.Reply{Payload: rollout.NewPayload([][]byte{{0xff, 0xff}}, nil)}, rollout.OK, rollout.OnChallenger, rollout.Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newTheatre(t, nil)
			s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { return tt.reply }
			x := s.exchange()
			x.Champion.Status.Code = tt.champion
			if tt.champion != rollout.OK {
				x.Champion.Absent = rollout.Failed
			}
			s.mirror.Offer(x)
			got := s.settle()[0]
			if got.Challenger.Absent != tt.absent || got.Comparison != nil || got.Challenger.Response != nil {
				t.Errorf("recorded as %+v, want absent %q and no comparison", got.Challenger, tt.absent)
			}
			if s.reported[0].Blame != tt.blame || s.outcomes[0].Blame != tt.blame {
				t.Errorf("blame %d, want %d", s.reported[0].Blame, tt.blame)
			}
		})
	}
}

// A hung challenger costs its timeout and nothing else; the client's own fate does not matter.
func TestMirrorTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t, nil)
		s.call = func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
			<-ctx.Done()
			return rollout.Reply{Status: rollout.Status{Code: rollout.DeadlineExceeded}}
		}
		start := time.Now()
		s.mirror.Offer(s.exchange())
		if time.Since(start) != 0 {
			t.Error("Offer waited")
		}
		got := s.settle()[0]
		if got.Challenger.Absent != rollout.Timeout || time.Since(start) != time.Second {
			t.Errorf("%q after %s, want timeout after 1s", got.Challenger.Absent, time.Since(start))
		}
	})
}

// Close cancels what outlasts its context, blames nobody, and still records it.
func TestCloseCancelsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t, func(o *Options) { o.Timeout = time.Hour })
		s.call = func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
			<-ctx.Done()
			return rollout.Reply{Status: rollout.Status{Code: rollout.Canceled}}
		}
		s.mirror.Offer(s.exchange())
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.mirror.Close(ctx)
		if len(s.records) != 1 || s.records[0].Challenger.Absent != rollout.Cancelled || s.reported[0].Blame != rollout.OnCaller {
			t.Errorf("records %d, blame %+v: want one, cancelled, on nobody's account", len(s.records), s.reported)
		}
	})
}

func TestMirrorSurvivesAPanic(t *testing.T) {
	s := newTheatre(t, nil)
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { panic("boom") }
	s.mirror.Offer(s.exchange())
	if got := s.settle(); len(got) != 1 || got[0].Challenger.Absent != rollout.Failed || len(s.reported) != 1 {
		t.Fatalf("records %v, reports %v: want one of each", got, s.reported)
	}
}

// The challenger's own requests and diverted ones go straight to the record.
func TestMirrorLeavesTheChallengersRequestsAlone(t *testing.T) {
	s := newTheatre(t, nil)
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		t.Error("a copy was sent")
		return rollout.Reply{}
	}
	x := s.exchange()
	x.Assigned, x.Challenger.Absent = rollout.Challenger, rollout.Cap
	s.mirror.Offer(x)
	if got := s.settle(); len(got) != 1 || got[0].Challenger.Absent != rollout.Cap || len(s.skipped) != 0 {
		t.Fatalf("records %v, skipped %v", got, s.skipped)
	}
}

// Every exchange is recorded once and the bounds hold while many are offered at once.
func TestMirrorConservesUnderLoad(t *testing.T) {
	const n, cap = 2_000, 8
	s := newTheatre(t, func(o *Options) { o.MaxInFlight = cap })
	var now, most atomic.Int64
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		for m, v := most.Load(), now.Add(1); v > m && !most.CompareAndSwap(m, v); m = most.Load() {
		}
		defer now.Add(-1)
		return s.answer(0.25)
	}
	var offers sync.WaitGroup
	for worker := range 4 {
		offers.Go(func() {
			for i := range n / 4 {
				x := s.exchange()
				x.ID = fmt.Sprint(worker, "-", i)
				s.mirror.Offer(x)
			}
		})
	}
	offers.Wait()
	seen := map[string]bool{}
	for _, x := range s.settle() {
		seen[x.ID] = true
		x.Free()
	}
	if len(seen) != n || len(s.records) != n {
		t.Errorf("%d records, %d different: want %d", len(s.records), len(seen), n)
	}
	if most.Load() > cap {
		t.Errorf("%d copies in flight, want at most %d", most.Load(), cap)
	}
	if made := int64(3*n) - int64(s.skipped[rollout.Shed]); int64(s.freed.Load()) != made {
		t.Errorf("%d payloads freed, want %d", s.freed.Load(), made)
	}
}

package shadow

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// large is a well-formed answer of a bit more than n bytes.
func (s *theatre) large(n int) rollout.Reply {
	return rollout.Reply{Payload: s.payload(&inference.ModelInferResponse{RawOutputContents: [][]byte{make([]byte, n)}})}
}

// value reads a counter or gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		return -1
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// An answer that does not fit is given back and recorded as shed; it is on nobody's
// account, and never counted as held.
func TestMirrorShedsAnswersOverItsBytes(t *testing.T) {
	s := newTheatre(t, func(o *Options) { o.MaxBytes = 10_000 })
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { return s.large(10_000) }
	s.mirror.Offer(s.exchange())
	x := s.settle()[0]
	if c := x.Challenger; c.Absent != rollout.Shed || c.Response != nil || c.Status.Code != rollout.OK || c.Latency == 0 || x.Comparison != nil {
		t.Errorf("recorded as %+v with comparison %v, want a shed answer", c, x.Comparison)
	}
	if len(s.skipped) != 0 {
		t.Errorf("skipped %v: the copy was made", s.skipped)
	}
	if o := s.outcomes[0]; o.Blame != rollout.OnCaller || o.Code != rollout.OK || o.Paired || s.reported[0] != o {
		t.Errorf("observed %+v, the breaker heard %+v: want nobody's fault", o, s.reported[0])
	}
	if n := value(s.mirror.metrics.shed); n != 1 {
		t.Errorf("%v answers counted as shed, want 1", n)
	}
	if s.freed.Load() != 1 {
		t.Errorf("%d payloads freed, want the answer", s.freed.Load())
	}
	if n := s.mirror.bytes.Load(); n != 0 || value(s.mirror.metrics.bytes) != 0 {
		t.Errorf("%d bytes still held", n)
	}
}

// Bytes that are no answer are the challenger's fault, whatever their size.
func TestMirrorBlamesGarbageOfAnySize(t *testing.T) {
	s := newTheatre(t, func(o *Options) { o.MaxBytes = 1_000 })
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		garbage := make([]byte, 10_000)
		return rollout.Reply{Payload: rollout.NewPayload([][]byte{garbage}, func() { s.freed.Add(1) })}
	}
	s.mirror.Offer(s.exchange())
	if x := s.settle()[0]; x.Challenger.Absent != rollout.Malformed || s.reported[0].Blame != rollout.OnChallenger || s.freed.Load() != 1 {
		t.Errorf("%+v, blame %d, %d freed", x.Challenger, s.reported[0].Blame, s.freed.Load())
	}
}

// The bound holds for all answers together: those that fit are held until they are
// recorded, the others are shed.
func TestMirrorHoldsAnswersUntilTheyAreRecorded(t *testing.T) {
	const calls, size, fit = 10, 10_000, 3
	synctest.Test(t, func(t *testing.T) {
		s := newTheatre(t, func(o *Options) { o.MaxInFlight, o.MaxBytes = calls, fit*(size+200) })
		recorder := &slowRecorder{theatre: s, hold: make(chan struct{})}
		s.mirror.o.Recorder = recorder
		s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply { return s.large(size) }
		for range calls {
			s.mirror.Offer(s.exchange())
		}
		synctest.Wait()
		if held := s.mirror.bytes.Load(); held > s.mirror.o.MaxBytes || held < fit*size {
			t.Errorf("%d bytes held, want %d answers under %d", held, fit, s.mirror.o.MaxBytes)
		}
		close(recorder.hold)
		answered := 0
		for _, x := range s.settle() {
			if x.Challenger.Answered() {
				answered++
			}
		}
		if len(s.records) != calls || answered != fit {
			t.Errorf("%d records, %d with an answer: want %d and %d", len(s.records), answered, calls, fit)
		}
		if n := s.mirror.bytes.Load(); n != 0 {
			t.Errorf("%d bytes still held", n)
		}
	})
}

// slowRecorder takes nothing before hold is closed.
type slowRecorder struct {
	*theatre
	hold chan struct{}
}

func (r *slowRecorder) Record(x *rollout.Exchange) {
	<-r.hold
	r.theatre.Record(x)
}

// Where the champion failed too, only a deadline that was the copy's own is the
// challenger's fault.
func TestMirrorTellsItsOwnDeadline(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // the mirror's own timeout is 1 s
		code  rollout.Code
		blame rollout.Blame
	}{
		{"at once", 0, rollout.DeadlineExceeded, rollout.OnCaller},
		{"much before it", 900 * time.Millisecond, rollout.DeadlineExceeded, rollout.OnCaller},
		{"a little before it", 960 * time.Millisecond, rollout.DeadlineExceeded, rollout.OnChallenger},
		{"at it", time.Second, rollout.DeadlineExceeded, rollout.OnChallenger},
		{"cancelled before it", 960 * time.Millisecond, rollout.Canceled, rollout.OnCaller},
		{"cancelled at it", time.Second, rollout.Canceled, rollout.OnChallenger},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTheatre(t, nil)
				s.call = func(ctx context.Context, _ *rollout.Payload, _ rollout.Metadata) rollout.Reply {
					if tt.after == time.Second {
						<-ctx.Done()
					} else {
						time.Sleep(tt.after)
					}
					return rollout.Reply{Status: rollout.Status{Code: tt.code}}
				}
				x := s.exchange()
				x.Champion = rollout.Call{Status: rollout.Status{Code: rollout.Unavailable}, Absent: rollout.Failed}
				s.mirror.Offer(x)
				s.settle()
				if got := s.reported[0].Blame; got != tt.blame {
					t.Errorf("blame %d, want %d", got, tt.blame)
				}
			})
		})
	}
}

// A champion whose answer is garbage has not answered: what the challenger refuses then
// proves nothing.
func TestMirrorSettlesByAGoodAnswerOnly(t *testing.T) {
	s := newTheatre(t, nil)
	s.call = func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		return rollout.Reply{Status: rollout.Status{Code: rollout.InvalidArgument}}
	}
	x := s.exchange()
	x.Champion = rollout.Call{Absent: rollout.Malformed}
	s.mirror.Offer(x)
	s.settle()
	if got := s.reported[0].Blame; got != rollout.OnCaller {
		t.Errorf("blame %d, want the caller's", got)
	}
}

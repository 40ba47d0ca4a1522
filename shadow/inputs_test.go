package shadow

import (
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	dto "github.com/prometheus/client_model/go"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// watcher keeps what it is shown.
type watcher struct {
	mu   sync.Mutex
	seen []rollout.Sighting
	wait chan struct{} // if not nil, everybody waits for it
}

func (w *watcher) See(x rollout.Sighting) {
	if w.wait != nil {
		<-w.wait
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, x)
}

// unread is how many inputs the metrics say were not read.
func (s *theatre) unread(reason string) float64 {
	var m dto.Metric
	if err := s.mirror.o.Metrics.unread.WithLabelValues("fraud", reason).Write(&m); err != nil {
		s.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func input(name, datatype string, shape []int64, c *inference.InferTensorContents) *inference.ModelInferRequest_InferInputTensor {
	return &inference.ModelInferRequest_InferInputTensor{Name: name, Datatype: datatype, Shape: shape, Contents: c}
}

func TestInputsAreReadOfBothArms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		s := newTheatre(t, func(o *Options) {
			o.Sampled = func(string) bool { return false } // what is not copied is looked at all the same
			o.Inputs = &Inputs{Watched: []rollout.WatchedInput{{Name: "row", Features: 3}, {Name: "age", Features: 2}}, Observer: w}
		})
		for _, arm := range []rollout.Arm{rollout.Champion, rollout.Challenger} {
			x := s.exchange()
			x.Assigned, x.Key, x.Mode, x.Entered = arm, "ann", rollout.ModeCanary, 7
			x.Request = s.payload(&inference.ModelInferRequest{Inputs: []*inference.ModelInferRequest_InferInputTensor{
				input("age", "INT32", []int64{1}, &inference.InferTensorContents{IntContents: []int32{-42}}),
				input("row", "FP32", []int64{2, 3}, &inference.InferTensorContents{Fp32Contents: []float32{1, 2.5, float32(math.Inf(1)), 4, 5, 6}}),
			}})
			s.mirror.Offer(x)
			synctest.Wait()
		}
		if len(w.seen) != 2 || len(s.settle()) != 2 {
			t.Fatalf("%d seen, %d recorded", len(w.seen), len(s.records))
		}
		for i, x := range w.seen {
			if x.Arm != rollout.Champion+rollout.Arm(i) || x.Key != "ann" || !x.Keyed || x.Mode != rollout.ModeCanary || x.Entered != 7 {
				t.Errorf("%+v", x)
			}
			if !slices.Equal(x.Values[:2], []float64{1, 2.5}) || !math.IsInf(x.Values[2], 1) || x.Values[3] != -42 || !math.IsNaN(x.Values[4]) {
				t.Errorf("values %v", x.Values)
			}
		}
		for _, x := range s.records {
			x.Free()
		}
		if s.freed.Load() < 2 {
			t.Error("a request is held for good")
		}
	})
}

func TestInputsThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		s := newTheatre(t, func(o *Options) {
			o.Inputs = &Inputs{Watched: []rollout.WatchedInput{{Name: "row", Features: 2}}, Observer: w}
		})
		offer := func(p *rollout.Payload) {
			x := s.exchange()
			x.Key, x.Request = x.ID, p // without a routing key
			s.mirror.Offer(x)
			synctest.Wait()
		}
		offer(s.payload(&inference.ModelInferRequest{}))
		offer(s.payload(&inference.ModelInferRequest{Inputs: []*inference.ModelInferRequest_InferInputTensor{
			input("row", "BYTES", []int64{1, 1}, &inference.InferTensorContents{BytesContents: [][]byte{[]byte("a")}})}}))
		offer(s.payload(&inference.ModelInferRequest{Inputs: []*inference.ModelInferRequest_InferInputTensor{
			input("row", "FP32", []int64{1, 3}, &inference.InferTensorContents{Fp32Contents: []float32{1}})}}))
		offer(s.payload(&inference.ModelInferRequest{Inputs: []*inference.ModelInferRequest_InferInputTensor{
			input("row", "BOOL", []int64{0, 3}, nil)}}))
		offer(rollout.NewPayload([][]byte{{0xff}}, nil))
		for reason, want := range map[string]float64{"missing": 1, "not_numeric": 1, "malformed": 2, "shed": 0} {
			if got := s.unread(reason); got != want {
				t.Errorf("%s: %v, want %v", reason, got, want)
			}
		}
		for _, x := range w.seen {
			if x.Keyed || len(x.Values) != 2 || !math.IsNaN(x.Values[0]) {
				t.Errorf("%+v", x)
			}
		}
		if len(w.seen) != 5 {
			t.Errorf("%d seen: to have no value is a finding, too", len(w.seen))
		}
		s.settle()
	})
}

// Whoever looks slowly keeps nobody waiting: what is too much is shed, and counted.
func TestInputsAreShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{wait: make(chan struct{})}
		s := newTheatre(t, func(o *Options) {
			o.Inputs = &Inputs{Watched: []rollout.WatchedInput{{Name: "row", Features: 1}}, Observer: w}
		})
		for range maxReads + 5 {
			x := s.exchange()
			x.Assigned = rollout.Challenger
			s.mirror.Offer(x)
		}
		if got := s.unread("shed"); got != 5 || len(s.records) != maxReads+5 {
			t.Errorf("%v shed, %d recorded", got, len(s.records))
		}
		close(w.wait)
		synctest.Wait()
		if s.mirror.reading.requests.Load() != 0 || s.mirror.reading.bytes.Load() != 0 {
			t.Error("places are not given back")
		}
		if s.mirror.reading.enter(maxReadBytes + 1) {
			t.Error("there is no limit to bytes")
		}
		s.settle()
	})
}

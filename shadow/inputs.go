package shadow

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// Inputs says which inputs are looked at, and who wants to know. Requests of both arms are,
// also those that are not copied: what keeps a copy back must not look like a difference
// between the arms.
type Inputs struct {
	Watched  []rollout.WatchedInput
	Observer InputObserver
}

// InputObserver takes over what was seen of a request's inputs.
type InputObserver interface {
	See(rollout.Sighting)
}

// reading counts the requests that are being looked at, and their bytes.
type reading struct{ requests, bytes atomic.Int64 }

// What is beyond these is shed, whichever arm it is of.
const (
	maxReads     = 64
	maxReadBytes = 64 << 20
)

func (r *reading) enter(size int64) bool {
	if requests, bytes := r.requests.Add(1), r.bytes.Add(size); requests <= maxReads && bytes <= maxReadBytes {
		return true
	}
	r.leave(size)
	return false
}

func (r *reading) leave(size int64) {
	r.requests.Add(-1)
	r.bytes.Add(-size)
}

// look has a request's inputs read in the background, or not at all.
func (m *Mirror) look(x *rollout.Exchange) {
	if m.o.Inputs == nil || m.stopped.Load() {
		return
	}
	size := int64(x.Request.Len())
	if !m.reading.enter(size) {
		m.metrics.unreadable("shed")
		return
	}
	// Without a routing key the gateway's id is the key.
	seen := rollout.Sighting{Key: x.Key, Keyed: x.Key != x.ID, Mode: x.Mode, Entered: x.Entered, Arm: x.Assigned}
	id, request := x.ID, x.Request.Ref()
	go func() {
		defer m.reading.leave(size)
		defer request.Free()
		defer func() {
			if r := recover(); r != nil {
				m.o.Logger.Error("the mirror panicked over a request's inputs: please report this", "model", m.o.Model, "id", id, "panic", fmt.Sprint(r))
			}
		}()
		seen.Values = m.values(request)
		m.o.Inputs.Observer.See(seen)
	}()
}

// values are those of the watched features; NaN where the request has none.
func (m *Mirror) values(request *rollout.Payload) (all []float64) {
	tensors, err := oip.Inputs(request)
	for _, w := range m.o.Inputs.Watched {
		row := slices.Repeat([]float64{math.NaN()}, w.Features)
		i := slices.IndexFunc(tensors, func(t oip.Tensor) bool { return t.Name == w.Name })
		switch {
		case tensors == nil && err != nil:
			m.metrics.unreadable("malformed")
		case i < 0:
			m.metrics.unreadable("missing")
		default:
			if reason := readRow(&tensors[i], row); reason != "" {
				m.metrics.unreadable(reason)
			}
		}
		all = append(all, row...)
	}
	return all
}

// readRow reads the first elements of a tensor's first row into row, or says why not. A
// tensor with one dimension is one row.
func readRow(t *oip.Tensor, row []float64) (reason string) {
	if t.Err() != nil {
		return "malformed"
	}
	if len(t.Shape) > 1 && t.Shape[0] > 0 {
		row = row[:min(len(row), t.Len()/int(t.Shape[0]))]
	}
	elements := t.Elements()
	switch t.Type().Family() {
	case oip.Signed:
		readNumbers(row, &elements, (*oip.Elements).Ints)
	case oip.Unsigned:
		readNumbers(row, &elements, (*oip.Elements).Uints)
	case oip.Float:
		readNumbers(row, &elements, (*oip.Elements).Floats)
	default:
		return "not_numeric"
	}
	return ""
}

func readNumbers[T comparedNumber](row []float64, from *oip.Elements, read func(*oip.Elements, []T) int) {
	var numbers [rollout.MaxFeatures]T
	for i := range read(from, numbers[:len(row)]) {
		row[i] = float64(numbers[i])
	}
}

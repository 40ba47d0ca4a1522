package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
	"github.com/understudy-serving/understudy/report/reporttest"
)

// topic is a source in memory, with as many partitions as it has lists. stop, where not
// nil, is asked before each message.
type topic struct {
	parts [][]Message
	stop  func() error
}

func topicOf(t testing.TB, partitions int, all []*recordv1.Prediction) *topic {
	s := &topic{parts: make([][]Message, partitions)}
	for i, p := range all {
		k := i % partitions
		at := int64(len(s.parts[k]))
		s.parts[k] = append(s.parts[k], Message{Offset: at, Next: at + 1, Value: reporttest.Wire(t, p)})
	}
	return s
}

func (s *topic) Parts(context.Context) (parts []Part, err error) {
	for i, p := range s.parts {
		parts = append(parts, Part{ID: i, End: int64(len(p))})
	}
	return parts, nil
}

func (s *topic) Read(ctx context.Context, p Part, _ bool, do func(m *Message) error) error {
	for i := p.Next; i < p.End; i++ {
		if s.stop != nil {
			if err := s.stop(); err != nil {
				return err
			}
		}
		if err := errors.Join(ctx.Err(), do(&s.parts[p.ID][i])); err != nil {
			return err
		}
	}
	return nil
}

// read runs a report on a folder, "" for none.
func read(t testing.TB, s Source, dir, settings string) (Result, error) {
	t.Helper()
	r := Run{Options: Options{Models: rules()}, Source: s}
	if dir != "" {
		state, err := OpenState(dir, settings)
		if err != nil {
			return Result{}, err
		}
		defer state.Close()
		r.State = state
	}
	if err := r.Begin(t.Context()); err != nil {
		return Result{}, err
	}
	err := r.Read(t.Context())
	return r.Summarize("a topic"), err
}

// same compares results whose sums may have been added in another order.
func same(t *testing.T, got, want Result) {
	t.Helper()
	var a, b any
	for v, r := range map[*any]Result{&a: got, &b: want} {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, v); err != nil {
			t.Fatal(err)
		}
	}
	if at := difference("", a, b); at != "" {
		t.Error(at)
	}
}

func difference(path string, a, b any) string {
	switch x := a.(type) {
	case float64:
		y, _ := b.(float64)
		if math.Abs(x-y) > 1e-9*max(math.Abs(x), math.Abs(y), 1e-3) {
			return fmt.Sprintf("%s: %v, want %v", path, a, b)
		}
		return ""
	case map[string]any:
		y, _ := b.(map[string]any)
		for k := range x {
			if d := difference(path+"."+k, x[k], y[k]); d != "" {
				return d
			}
		}
		if len(x) != len(y) {
			return path + ": other fields"
		}
		return ""
	case []any:
		y, _ := b.([]any)
		if len(x) != len(y) {
			return fmt.Sprintf("%s: %d elements, want %d", path, len(x), len(y))
		}
		for i := range x {
			if d := difference(fmt.Sprintf("%s[%d]", path, i), x[i], y[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("%s: %v, want %v", path, a, b)
	}
	return ""
}

// Partitions are counted apart and say together what one would.
func TestPartitionsAddUp(t *testing.T) {
	all := reporttest.Traffic(3000)
	want, err := read(t, topicOf(t, 1, all), "", "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(t, topicOf(t, 5, all), "", "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

// A report that breaks off again and again counts each record once.
func TestGoesOn(t *testing.T) {
	s := topicOf(t, 4, reporttest.Traffic(4000))
	want, err := read(t, s, "", "")
	if err != nil {
		t.Fatal(err)
	}
	dir, broken, runs := t.TempDir(), errors.New("broken"), 0
	random := rand.New(rand.NewPCG(7, 7))
	stops := make(chan bool, 1) // one partition at a time asks
	s.stop = func() error {
		stops <- true
		defer func() { <-stops }()
		if random.IntN(1000) == 0 {
			return broken
		}
		return nil
	}
	got := Result{}
	for ; ; runs++ {
		if got, err = read(t, s, dir, "x"); err == nil {
			break
		}
		if !errors.Is(err, broken) || got.Complete {
			t.Fatal(err)
		}
	}
	if runs < 1 {
		t.Errorf("it broke off %d times", runs)
	}
	same(t, got, want)
	again, err := read(t, s, dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, want)
}

func TestStateThatDoesNotFit(t *testing.T) {
	s, dir := topicOf(t, 2, reporttest.Traffic(100)), t.TempDir()
	if _, err := read(t, s, dir, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, s, dir, "y"); !errors.Is(err, ErrOtherSettings) {
		t.Errorf("other settings: %v", err)
	}
	if _, err := read(t, topicOf(t, 2, reporttest.Traffic(50)), dir, "x"); !errors.Is(err, ErrOtherTopic) {
		t.Errorf("a shorter topic: %v", err)
	}
	if _, err := read(t, topicOf(t, 1, reporttest.Traffic(100)), dir, "x"); !errors.Is(err, ErrOtherTopic) {
		t.Errorf("fewer partitions: %v", err)
	}
	held, err := OpenState(dir, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, s, dir, "x"); !errors.Is(err, ErrLocked) {
		t.Errorf("a folder that is taken: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report.json"), []byte(`{"version":1,"settings":"x","parts":[{"id":0,"ids":3}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, s, dir, "x"); err == nil {
		t.Error("a damaged file was taken")
	}
}

// Messages that the topic no longer has are counted as gone.
func TestRemoved(t *testing.T) {
	s := topicOf(t, 1, reporttest.Traffic(100))
	s.parts[0] = append(s.parts[0][:40:40], s.parts[0][60:]...)
	gaps := gappy{s}
	got, err := read(t, gaps, "", "")
	if err != nil || got.Removed != 20 || got.Messages.Records != 80 {
		t.Errorf("%d removed, %d records, %v", got.Removed, got.Messages.Records, err)
	}
}

type gappy struct{ *topic }

func (g gappy) Parts(context.Context) ([]Part, error) { return []Part{{End: 100}}, nil }

func (g gappy) Read(_ context.Context, _ Part, _ bool, do func(m *Message) error) error {
	for i := range g.parts[0] {
		if err := do(&g.parts[0][i]); err != nil {
			return err
		}
	}
	return nil
}

func TestWindow(t *testing.T) {
	w := newWindow(100)
	for i := range 1000 {
		if w.seen(reporttest.ID(i)) {
			t.Fatalf("%d is new", i)
		}
	}
	text, err := w.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	read := newWindow(100)
	if err := read.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*window{w, read} {
		if !w.seen(reporttest.ID(900)) || !w.seen(reporttest.ID(999)) || len(w.set) != 100 {
			t.Errorf("the last 100 of 1,000 are known: %d", len(w.set))
		}
		if w.seen(reporttest.ID(899)) {
			t.Error("what is older is not known")
		}
	}
}

package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/report"
)

func TestReconcile(t *testing.T) {
	end := time.Now()
	in := func(id string, sent, done time.Duration) answer {
		return answer{id: id, sent: end.Add(sent), done: end.Add(done)}
	}
	failed := in("failed", -2*time.Second, -time.Second)
	failed.err = errors.New("x")
	a := act{model: "m", recordedUntil: end, answers: []answer{
		in("before", -2*time.Second, -time.Second),
		in("across, recorded", -time.Second, time.Second),
		in("across, not recorded", -time.Second, time.Second),
		in("at the swap", time.Millisecond, time.Second),
		in("after", time.Second, 2*time.Second),
		failed,
	}}
	m := recordFigures{model: "m"}
	right := func() map[string]recordFigures {
		return map[string]recordFigures{"before": m, "across, recorded": m, "at the swap": m}
	}
	if err := reconcile(right(), &a); err != nil {
		t.Errorf("a right topic: %v", err)
	}
	for want, spoil := range map[string]func(map[string]recordFigures){
		"misses 1":               func(r map[string]recordFigures) { delete(r, "before") },
		"misses 1 ":              func(r map[string]recordFigures) { r["before"] = recordFigures{model: "other"} },
		"has 1 of after":         func(r map[string]recordFigures) { r["after"] = m },
		"1 that no client sent":  func(r map[string]recordFigures) { r["foreign"] = m },
		"1 that no client sent ": func(r map[string]recordFigures) { r[""] = m },
	} {
		records := right()
		spoil(records)
		if err := reconcile(records, &a); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCountRecordsOfOneModel(t *testing.T) {
	records := map[string]recordFigures{
		"a": {model: "m", pair: true, disagrees: true, clinic: wrongClinic}, "b": {model: "m", pair: true, clinic: wrongClinic},
		"c": {model: "m", pair: true, clinic: "east"}, "d": {model: "m", clinic: wrongClinic}, "e": {model: "n", pair: true},
	}
	got := countRecords(records, "m")
	if got != (topicFigures{records: 4, pairs: 3, disagree: 1, clinicPairs: 2, clinicDisagree: 1}) {
		t.Errorf("%+v", got)
	}
	if clinic, others := got.shares(); clinic != 0.5 || others != 0 {
		t.Errorf("shares %v and %v", clinic, others)
	}
}

func TestShare(t *testing.T) {
	if got := share(1, 3); got != 0.3333 {
		t.Errorf("1 of 3: %v", got)
	}
	if got := share(0, 0); got != 0 {
		t.Errorf("nothing of nothing: %v", got)
	}
}

func TestMatchReport(t *testing.T) {
	a := &act{model: "m", topic: topicFigures{records: 5, pairs: 4, disagree: 1, clinicPairs: 2}}
	r := &report.Result{Rollouts: []report.Rollout{{Model: "m", Records: 5, Agree: report.Agreement{Compared: 4, Disagree: 1}}}}
	if err := matchReport(r, []*act{a}); err != nil {
		t.Error(err)
	}
	a.topic.disagree = 2
	const want = "the report has 5 records of m, 1 of 4 pairs disagree: want 5, and 2 of 4"
	if err := matchReport(r, []*act{a}); err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if err := matchReport(&report.Result{}, []*act{a}); err == nil {
		t.Error("a model that the report does not know passes")
	}
}

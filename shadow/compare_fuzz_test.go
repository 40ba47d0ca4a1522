package shadow

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/understudy-serving/understudy/rollout"
)

// FuzzCompare sees that whatever two arms answer is compared without a panic, and that
// the result can be stored: finite numbers, valid text, figures that fit each other.
func FuzzCompare(f *testing.F) {
	for _, c := range compareCases {
		a := compareResponse(f, compareOut{name: "s", datatype: c.datatype, shape: []int64{3}, values: c.a})
		b := compareResponse(f, compareOut{name: "s", datatype: c.datatype, shape: []int64{3}, values: c.b})
		f.Add(a.Bytes(), b.Bytes(), uint8(1))
	}
	kinds := []rollout.CompareKind{rollout.CompareScore, rollout.CompareClass, rollout.CompareExact}
	f.Fuzz(func(t *testing.T, champion, challenger []byte, kind uint8) {
		c := newComparer(t, rollout.CompareRule{Output: "s", Kind: kinds[int(kind)%len(kinds)]})
		a, b := rollout.NewPayload([][]byte{champion}, nil), rollout.NewPayload([][]byte{challenger}, nil)
		got := c.Compare(a, b)
		if _, err := json.Marshal(got); err != nil {
			t.Fatal(err)
		}
		for _, o := range got.Outputs {
			if o.Differing > o.Elements || o.NonFinite > o.Differing || o.MeanAbsDiff > o.MaxAbsDiff*(1+1e-9) || o.Agree != (o.Finding == "") ||
				(o.Differing > 0) != (o.Finding == rollout.DiffersInValues) {
				t.Fatalf("figures do not fit: %+v", o)
			}
			if !utf8.ValidString(o.Output + o.ChampionClass + o.ChallengerClass) {
				t.Fatalf("not valid UTF-8: %+v", o)
			}
		}
		if !utf8.ValidString(got.Error) {
			t.Fatalf("not valid UTF-8: %q", got.Error)
		}
		for _, o := range c.Compare(a, a).Outputs {
			if o.Finding != "" && o.Finding != rollout.MalformedOutput && o.Finding != rollout.UncomparableOutput {
				t.Fatalf("a response differs from itself: %+v", o)
			}
		}
	})
}

package report

import (
	"maps"
	"math"
	"slices"
)

// timeline counts by time. Its buckets get twice as wide each time that there are more than
// mostBuckets.
type timeline struct {
	// Width of a bucket in seconds.
	Width int64 `json:"width"`
	// Buckets by their first second, in units of Width since 1970.
	Buckets map[int64]*bucket `json:"buckets"`
}

type bucket struct {
	Records  int64 `json:"records"`
	Compared int64 `json:"compared"`
	Differ   int64 `json:"differ"`
}

const mostBuckets, firstWidth = 120, 10

func (t *timeline) count(s *seenRecord) {
	if s.receivedAt.IsZero() {
		return
	}
	t.add(s.receivedAt.Unix(), bucket{1, one(s.comparison != nil), one(s.differs)})
}

func (t *timeline) add(second int64, n bucket) {
	if t.Buckets == nil {
		t.Width, t.Buckets = firstWidth, map[int64]*bucket{}
	}
	b := at(t.Buckets, floor(second, t.Width))
	b.Records += n.Records
	b.Compared += n.Compared
	b.Differ += n.Differ
	for len(t.Buckets) > mostBuckets {
		t.widen()
	}
}

func (t *timeline) widen() {
	old := t.Buckets
	t.Width, t.Buckets = 2*t.Width, map[int64]*bucket{}
	for k, n := range old {
		t.add(k*t.Width/2, *n)
	}
}

func (t *timeline) merge(o *timeline) {
	for o.Width > t.Width && t.Buckets != nil {
		t.widen()
	}
	for _, k := range slices.Sorted(maps.Keys(o.Buckets)) {
		t.add(k*o.Width, *o.Buckets[k])
	}
}

func floor(second, width int64) int64 {
	return int64(math.Floor(float64(second) / float64(width)))
}

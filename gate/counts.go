package gate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Series names what a Cell counts: a gate, by its index in the rules, for all requests or
// for one cohort.
type Series struct {
	Gate int
	// Segment is the cohort, such as "region=eu"; empty for all requests.
	Segment string
}

// MarshalText writes "0" or "0 region=eu".
func (s Series) MarshalText() ([]byte, error) {
	text := strconv.Itoa(s.Gate)
	if s.Segment != "" {
		text += " " + s.Segment
	}
	return []byte(text), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *Series) UnmarshalText(b []byte) (err error) {
	index, segment, _ := strings.Cut(string(b), " ")
	if s.Gate, err = strconv.Atoi(index); err != nil || s.Gate < 0 {
		return fmt.Errorf("series %q: want the index of a gate first", b)
	}
	s.Segment = segment
	return nil
}

// Step is what was counted at one step of a rollout.
type Step struct {
	// Index in the plan, −1 beside it; Mode and Weight are those of the step.
	Index  int            `json:"index"`
	Mode   rollout.Mode   `json:"mode"`
	Weight rollout.Weight `json:"weight"`
	// Slow is the champion's p99 before the step, for TailLatency; 0 while it is not known.
	Slow time.Duration `json:"slow,omitempty"`
	// Gathered is the time over which the counts came.
	Gathered time.Duration    `json:"gathered,omitempty"`
	Cells    map[Series]*Cell `json:"cells,omitempty"`
	// Firsts count of each routing key only its first request at the step. Cells lose a key
	// with its first bad event, which is what a fail may count, but leave the good ones: rates
	// would sink to nothing, and everything would pass. Nil where no request shares a key.
	Firsts map[Series]*Cell `json:"firsts,omitempty"`
	// Warm are requests of the step's warm-up, which gates of latency do not judge.
	Warm map[Series]*Cell `json:"warm,omitempty"`
}

// Cell returns the cell of a series, which it makes if there is none.
func (s *Step) Cell(k Series) *Cell { return entryOf(&s.Cells, k) }

// First returns the cell of a series in Firsts.
func (s *Step) First(k Series) *Cell { return entryOf(&s.Firsts, k) }

// WarmUp returns the cell of a series in Warm.
func (s *Step) WarmUp(k Series) *Cell { return entryOf(&s.Warm, k) }

// entryOf returns the entry of a series, which it makes if there is none.
func entryOf[T any](all *map[Series]*T, k Series) *T {
	v := (*all)[k]
	if v == nil {
		if *all == nil {
			*all = map[Series]*T{}
		}
		v = new(T)
		(*all)[k] = v
	}
	return v
}

func (s *Step) add(o *Step) {
	s.Gathered += o.Gathered
	s.Slow = max(s.Slow, o.Slow)
	for k, c := range o.Cells {
		s.Cell(k).Add(*c)
	}
	for k, c := range o.Firsts {
		s.First(k).Add(*c)
	}
	for k, c := range o.Warm {
		s.WarmUp(k).Add(*c)
	}
}

// Counts are what was counted of a rollout. They merge by Add: it is commutative and
// associative, and the zero Counts change nothing.
type Counts struct {
	// Steps by the revision that entered them.
	Steps map[uint64]*Step `json:"steps,omitempty"`
	// Keys are routing keys at first sight in canary, by the weight at which they came.
	Keys map[rollout.Weight]Fall `json:"keys,omitempty"`
	// Missing are requests that had no result at the age at which they were judged.
	Missing map[rollout.Weight]Fall `json:"missing,omitempty"`
}

// Step returns the step that the revision entered, which is added as like if there is none.
func (c *Counts) Step(entered uint64, like Step) *Step {
	s := c.Steps[entered]
	if s == nil {
		if c.Steps == nil {
			c.Steps = map[uint64]*Step{}
		}
		like.Cells, like.Firsts, like.Warm, like.Gathered = nil, nil, nil, 0
		s = &like
		c.Steps[entered] = s
	}
	return s
}

// Add merges o into c.
func (c *Counts) Add(o Counts) {
	for entered, s := range o.Steps {
		c.Step(entered, *s).add(s)
	}
	c.Keys = addFalls(c.Keys, o.Keys)
	c.Missing = addFalls(c.Missing, o.Missing)
}

func addFalls(to, from map[rollout.Weight]Fall) map[rollout.Weight]Fall {
	if to == nil && len(from) > 0 {
		to = map[rollout.Weight]Fall{}
	}
	for w, f := range from {
		sum := to[w]
		sum.Add(f)
		to[w] = sum
	}
	return to
}

// entered returns the steps' revisions, ascending.
func (c Counts) entered() []uint64 { return slices.Sorted(maps.Keys(c.Steps)) }

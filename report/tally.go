package report

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Bounds on what one tally keeps, so that its memory does not grow with the topic, whatever
// is on it. What is beyond a bound is counted together, under `other`.
const (
	mostRollouts  = 64
	mostRevisions = 256
	mostOutputs   = 64
	mostLabels    = 64 // of each arm
	mostCohorts   = 64 // of each segment source
	mostSources   = 8
	mostReasons   = 32
	other         = "other"
)

// Options say what is reported, and by which rules.
type Options struct {
	// Models are the rules by public model name. One that is not there is judged by
	// defaults: see Rules.
	Models map[string]Rules
	// Model, if set, is the only one that is reported.
	Model string
	// Since and Until bound the time at which the gateway had the request: Since ≤ t < Until.
	// Zero is no bound.
	Since, Until time.Time
	// Worst is how many of the records that differ most are named. Default 20.
	Worst int
}

// Rules are how the predictions of a model are compared and judged.
type Rules struct {
	Compare []rollout.CompareRule
	// Judge has gates, alpha and segments, as a rollout has them.
	Judge rollout.Rules
}

// Tally is what was counted of messages. It serves one goroutine, and is read with the
// options that it was made with; see State.
type Tally struct {
	Messages Messages  `json:"messages"`
	Rollouts []*played `json:"rollouts"`

	options   *Options
	decoder   decoder
	comparers comparers
}

// Messages accounts for what was read: Read = Records + Duplicates + OtherModel +
// OtherTime + all Undecodable.
type Messages struct {
	Read  int64 `json:"read"`
	Bytes int64 `json:"bytes"`
	// Records are in the report.
	Records    int64 `json:"records"`
	Duplicates int64 `json:"duplicates"`
	// OtherModel and OtherTime are records that the options leave out.
	OtherModel int64 `json:"otherModel"`
	OtherTime  int64 `json:"otherTime"`
	// Undecodable messages are no records, by reason.
	Undecodable map[string]int64 `json:"undecodable"`
	// First has the first of them, by reason.
	First map[string]Fault `json:"firstUndecodable"`
	// Protobuf and JSON are the records' encodings. NewerSchema of them have fields that
	// this version does not know.
	Protobuf    int64 `json:"protobuf"`
	JSON        int64 `json:"json"`
	NewerSchema int64 `json:"newerSchema"`
}

// Fault is a message that could not be decoded.
type Fault struct {
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Error     string `json:"error"`
}

func newTally(o *Options) *Tally {
	return &Tally{options: o, Messages: Messages{Undecodable: map[string]int64{}, First: map[string]Fault{}}}
}

// add takes a message in. seen tells whether a record of this id was counted before.
func (t *Tally) add(partition int, m *Message, seen func(id string) bool) {
	t.Messages.Read++
	t.Messages.Bytes += int64(len(m.Value))
	r, err := t.decoder.read(m)
	switch {
	case err != nil:
		t.refuse(partition, m, err)
	case t.options.Model != "" && r.model != t.options.Model:
		t.Messages.OtherModel++
	case !t.options.covers(r.receivedAt):
		t.Messages.OtherTime++
	case seen(r.id):
		t.Messages.Duplicates++
	default:
		t.count(r)
	}
}

func (o *Options) covers(at time.Time) bool {
	return !at.Before(o.Since) && (o.Until.IsZero() || at.Before(o.Until))
}

func (t *Tally) refuse(partition int, m *Message, err error) {
	reason := err.Error()
	for _, known := range []error{errType, errContent, errProtobuf, errJSON} {
		if errors.Is(err, known) {
			reason = known.Error()
		}
	}
	if t.Messages.Undecodable[reason]++; t.Messages.Undecodable[reason] == 1 {
		t.Messages.First[reason] = Fault{partition, m.Offset, clip(err.Error(), 300)}
	}
}

func (t *Tally) count(r *record) {
	t.Messages.Records++
	if r.json {
		t.Messages.JSON++
	} else {
		t.Messages.Protobuf++
	}
	if r.newer {
		t.Messages.NewerSchema++
	}
	rules, configured := t.options.Models[r.model]
	p := t.played(r)
	p.Configured = configured
	p.count(r, &rules, &t.comparers, t.options.worst())
}

func (o *Options) worst() int { return cmp.Or(o.Worst, 20) }

// played returns what is known of the record's rollout.
func (t *Tally) played(r *record) *played {
	k := lifeOf(r)
	for _, p := range t.Rollouts {
		if p.life == k {
			return p
		}
	}
	if len(t.Rollouts) == mostRollouts {
		k = life{Model: other}
		if last := t.Rollouts[mostRollouts-1]; last.life == k {
			return last
		}
		t.Rollouts = t.Rollouts[:mostRollouts-1]
	}
	p := newPlayed(k)
	t.Rollouts = append(t.Rollouts, p)
	return p
}

// merge adds what o has counted.
func (t *Tally) merge(o *Tally) {
	t.Messages.merge(&o.Messages)
	for _, theirs := range o.Rollouts {
		i := slices.IndexFunc(t.Rollouts, func(p *played) bool { return p.life == theirs.life })
		if i < 0 {
			i = len(t.Rollouts)
			t.Rollouts = append(t.Rollouts, newPlayed(theirs.life))
		}
		t.Rollouts[i].merge(theirs, t.options.worst())
	}
}

func (m *Messages) merge(o *Messages) {
	m.Read += o.Read
	m.Bytes += o.Bytes
	m.Records += o.Records
	m.Duplicates += o.Duplicates
	m.OtherModel += o.OtherModel
	m.OtherTime += o.OtherTime
	m.Protobuf += o.Protobuf
	m.JSON += o.JSON
	m.NewerSchema += o.NewerSchema
	addCounts(m.Undecodable, o.Undecodable)
	for reason, f := range o.First {
		if known, ok := m.First[reason]; !ok || cmp.Or(cmp.Compare(f.Partition, known.Partition), cmp.Compare(f.Offset, known.Offset)) < 0 {
			m.First[reason] = f
		}
	}
}

func addCounts[K comparable](to, from map[K]int64) {
	for k, n := range from {
		to[k] += n
	}
}

// bump counts a reason or a code that somebody else has named.
func bump(counts map[string]int64, name string) {
	if _, known := counts[name]; !known && len(counts) >= mostReasons {
		name = other
	}
	counts[clip(name, 64)]++
}

// clip bounds what others can make a name.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 { // within a character
		most--
	}
	return s[:most]
}

// sortedBy returns the keys with the largest counts first, then by name.
func sortedBy(counts map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}

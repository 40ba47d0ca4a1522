package report

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/understudy-serving/understudy/gate"
	"github.com/understudy-serving/understudy/rollout"
)

// life tells rollouts apart: who understudied whom.
type life struct {
	Model      string       `json:"model"`
	Champion   rollout.Spec `json:"champion"`
	Challenger rollout.Spec `json:"challenger"`
}

func lifeOf(r *record) life { return life{r.model, r.champion.spec, r.challenger.spec} }

// played is what was counted of one rollout.
type played struct {
	life
	// Configured says that the model's rules were given; else defaults judged.
	Configured bool      `json:"configured"`
	Records    int64     `json:"records"`
	Times      period    `json:"times"`
	Agreement  agreement `json:"agreement"`
	Arms       arms      `json:"arms"`
	// Live is what the challenger answered as the one who was assigned; the rest of its calls
	// are copies.
	Live      *gate.Sketch         `json:"liveLatency"`
	Diverted  map[string]int64     `json:"diverted"`
	Outputs   []*output            `json:"outputs"`
	Cohorts   map[string]*cohort   `json:"cohorts"`
	Revisions map[uint64]*revision `json:"revisions"`
	Worst     []ranked             `json:"worst"`
	Timeline  timeline             `json:"timeline"`
	// Counts are the gates', by step; see stepOf.
	Counts gate.Counts `json:"counts"`
}

func newPlayed(k life) *played {
	return &played{life: k, Arms: arms{newArm(), newArm()}, Live: gate.NewSketch(), Diverted: map[string]int64{},
		Cohorts: map[string]*cohort{}, Revisions: map[uint64]*revision{}, Agreement: agreement{NotCompared: map[string]int64{}}}
}

// period is when records came; zero where there is none.
type period struct {
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

func (p *period) add(o period) {
	if p.First.IsZero() || !o.First.IsZero() && o.First.Before(p.First) {
		p.First = o.First
	}
	if o.Last.After(p.Last) {
		p.Last = o.Last
	}
}

// agreement is what the comparisons said.
type agreement struct {
	Compared int64 `json:"compared"`
	Differ   int64 `json:"differ"`
	// Recomputed of those compared were compared anew from their payloads; Otherwise of
	// them were judged otherwise than the record says.
	Recomputed int64 `json:"recomputed"`
	Otherwise  int64 `json:"otherwise"`
	// NotCompared are records without a comparison, by reason.
	NotCompared map[string]int64 `json:"notCompared"`
}

// cohort is what was counted of one value of a segment source.
type cohort struct {
	Records          int64 `json:"records"`
	Compared         int64 `json:"compared"`
	Differ           int64 `json:"differ"`
	ChampionErrors   int64 `json:"championErrors"`
	ChallengerErrors int64 `json:"challengerErrors"`
}

// revision is what was counted at one revision of the rollout.
type revision struct {
	Mode     string         `json:"mode"`
	Weight   rollout.Weight `json:"weight"`
	Times    period         `json:"times"`
	Records  int64          `json:"records"`
	Compared int64          `json:"compared"`
	Differ   int64          `json:"differ"`
}

// seenRecord is a record with what follows from it.
type seenRecord struct {
	*record
	comparison *rollout.Comparison
	cohorts    []string
	differs    bool
	// failures by their own fault, as the gates count them.
	championFailed, challengerFailed bool
}

func (p *played) count(r *record, rules *Rules, by *comparers, worst int) {
	s := seenRecord{record: r, comparison: p.compare(r, rules, by)}
	s.differs = s.comparison != nil && !s.comparison.Agree
	s.championFailed, s.challengerFailed = r.champion.failed(nil), r.challenger.failed(&r.champion)
	s.cohorts = p.cohortsOf(r, rules.Judge.Segments)
	p.Records++
	p.Times.add(period{r.receivedAt, r.receivedAt})
	p.Arms.Champion.count(&r.champion, s.championFailed)
	p.Arms.Challenger.count(&r.challenger, s.challengerFailed)
	if r.assigned == rollout.Challenger && r.challenger.called() && r.challenger.latency > 0 {
		p.Live.Observe(r.challenger.latency.Seconds())
	}
	if r.diverted != "" {
		bump(p.Diverted, r.diverted)
	}
	p.countOutputs(&s)
	for _, name := range s.cohorts {
		p.Cohorts[name].count(&s)
	}
	p.revision(r.revision).count(&s)
	p.Timeline.count(&s)
	p.rank(&s, worst)
	p.vote(&s, &rules.Judge)
}

func (c *cohort) count(s *seenRecord) {
	c.Records++
	c.Compared += one(s.comparison != nil)
	c.Differ += one(s.differs)
	c.ChampionErrors += one(s.championFailed)
	c.ChallengerErrors += one(s.challengerFailed)
}

// revision returns the sums of a revision. Beyond mostRevisions all others share those
// of 0, which no rollout has.
func (p *played) revision(n uint64) *revision {
	if _, known := p.Revisions[n]; !known && len(p.Revisions) >= mostRevisions {
		n = 0
	}
	r := p.Revisions[n]
	if r == nil {
		r = &revision{}
		p.Revisions[n] = r
	}
	return r
}

func (v *revision) count(s *seenRecord) {
	v.Mode, v.Weight = s.mode.String(), s.weight
	v.Times.add(period{s.receivedAt, s.receivedAt})
	v.Records++
	v.Compared += one(s.comparison != nil)
	v.Differ += one(s.differs)
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// ranked is a record that differs, and how much; see rollout.Comparison.Worst. Of those of
// one rank, such as other classes, the one whose scores are further off is worse.
type ranked struct {
	rollout.Disagreeing
	Rank float64 `json:"rank"`
	Off  float64 `json:"off"`
}

func (p *played) rank(s *seenRecord, most int) {
	if !s.differs {
		return
	}
	d, rank, _ := s.comparison.Worst()
	w := ranked{Disagreeing: d, Rank: finite(rank)}
	for i := range s.comparison.Outputs {
		w.Off = max(w.Off, s.comparison.Outputs[i].MaxAbsDiff)
	}
	w.ID = s.id
	if len(p.Worst) == most && compareRanked(w, p.Worst[most-1]) > 0 {
		return
	}
	w.Segment = strings.Join(s.cohorts, " ")
	p.Worst = worst(append(p.Worst, w), most)
}

// compareRanked puts the worse first, of the like the older.
func compareRanked(a, b ranked) int {
	return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.Off, a.Off), strings.Compare(a.ID, b.ID))
}

// worst sorts and keeps the worst ones.
func worst(all []ranked, most int) []ranked {
	slices.SortFunc(all, compareRanked)
	return all[:min(len(all), most)]
}

func (p *played) merge(o *played, most int) {
	p.Configured = p.Configured || o.Configured
	p.Records += o.Records
	p.Times.add(o.Times)
	p.Agreement.merge(&o.Agreement)
	p.Arms.Champion.merge(o.Arms.Champion)
	p.Arms.Challenger.merge(o.Arms.Challenger)
	p.Live.Merge(o.Live)
	addCounts(p.Diverted, o.Diverted)
	p.mergeOutputs(o.Outputs)
	for name, c := range o.Cohorts {
		at(p.Cohorts, name).merge(c)
	}
	for n, r := range o.Revisions {
		at(p.Revisions, n).merge(r)
	}
	p.Worst = worst(append(slices.Clone(p.Worst), o.Worst...), most)
	p.Timeline.merge(&o.Timeline)
	p.Counts.Add(o.Counts)
}

// at returns the value of a key, which it makes if there is none.
func at[K comparable, V any](m map[K]*V, k K) *V {
	v := m[k]
	if v == nil {
		v = new(V)
		m[k] = v
	}
	return v
}

func (a *agreement) merge(o *agreement) {
	a.Compared += o.Compared
	a.Differ += o.Differ
	a.Recomputed += o.Recomputed
	a.Otherwise += o.Otherwise
	addCounts(a.NotCompared, o.NotCompared)
}

func (c *cohort) merge(o *cohort) {
	c.Records += o.Records
	c.Compared += o.Compared
	c.Differ += o.Differ
	c.ChampionErrors += o.ChampionErrors
	c.ChallengerErrors += o.ChallengerErrors
}

func (v *revision) merge(o *revision) {
	v.Mode, v.Weight = o.Mode, o.Weight
	v.Times.add(o.Times)
	v.Records += o.Records
	v.Compared += o.Compared
	v.Differ += o.Differ
}

package gate

import (
	"math"
	"slices"

	"github.com/understudy-serving/understudy/rollout"
)

// Inputs are the distributions of a rollout's inputs, feature by feature.
type Inputs struct {
	// Edges divide the values of each feature into bins. They are made of the rollout's first
	// requests, whichever arm these are of, and then stay; nil before. So evidence is small,
	// and what it says does not hang on where values lie.
	Edges [][]float64 `json:"edges,omitempty"`
	// Shadow has all steps of the rehearsal, Champion and Challenger the current step of
	// canary, by arm as assigned; ...ByKey have the first request of each routing key. Each
	// feature has its counts by bin, and last of requests without a value.
	Shadow          [][]int64 `json:"shadow,omitempty"`
	Champion        [][]int64 `json:"champion,omitempty"`
	Challenger      [][]int64 `json:"challenger,omitempty"`
	ChampionByKey   [][]int64 `json:"champion_by_key,omitempty"`
	ChallengerByKey [][]int64 `json:"challenger_by_key,omitempty"`
	// Entered names the step, Keys are those that were seen at it.
	Entered uint64 `json:"entered"`
	Keys    Keys   `json:"keys"`

	features int
	// first wait for Edges.
	first []seen
}

// seen is a request, and whether it is its key's first at the step.
type seen struct {
	rollout.Sighting
	fresh bool
}

// learned is how many requests Edges are made of.
const learned = 256

// For returns in, or where it is not of so many features, a fresh one; nil for none.
func (in *Inputs) For(features int) *Inputs {
	switch {
	case features == 0:
		return nil
	case in == nil || len(in.Edges) != features || !in.whole(in.Shadow, in.Champion, in.Challenger, in.ChampionByKey, in.ChallengerByKey):
		return &Inputs{features: features}
	}
	in.features = features
	return in
}

// whole tells whether counts are such as the edges make them.
func (in *Inputs) whole(all ...[][]int64) bool {
	for _, counts := range all {
		if len(counts) != len(in.Edges) {
			return false
		}
		for i, of := range counts {
			if len(of) != len(in.Edges[i])+2 || slices.Min(of) < 0 {
				return false
			}
		}
	}
	return true
}

// empty has a bin for each gap between edges, one beyond each end, and one for no value.
func (in *Inputs) empty() [][]int64 {
	counts := make([][]int64, len(in.Edges))
	for i, edges := range in.Edges {
		counts[i] = make([]int64, len(edges)+2)
	}
	return counts
}

// Enter begins a step, unless it is the one that the counts are of.
func (in *Inputs) Enter(entered uint64) {
	if in == nil || in.Entered == entered {
		return
	}
	in.Entered, in.Keys = entered, Keys{}
	in.clear()
}

func (in *Inputs) clear() {
	in.Champion, in.Challenger, in.ChampionByKey, in.ChallengerByKey = in.empty(), in.empty(), in.empty(), in.empty()
}

// See counts one request's inputs; hash is its key's. It tells whether it did.
func (in *Inputs) See(x rollout.Sighting, hash uint64) bool {
	if in == nil || x.Entered != in.Entered || len(x.Values) != in.features {
		return false
	}
	x.Key = "" // what may wait for a while is its values
	one := seen{x, !x.Keyed || in.Keys.Put(hash)}
	if in.Edges != nil {
		in.count(&one)
	} else if in.first = append(in.first, one); len(in.first) == learned {
		in.learn()
	}
	return true
}

// count counts a request at its step; one that waited for Edges may be of the step before.
func (in *Inputs) count(x *seen) {
	switch {
	case x.Mode == rollout.ModeShadow:
		in.add(in.Shadow, x)
	case x.Entered != in.Entered:
	case x.Arm == rollout.Challenger:
		in.add(in.Challenger, x)
		if x.fresh {
			in.add(in.ChallengerByKey, x)
		}
	default:
		in.add(in.Champion, x)
		if x.fresh {
			in.add(in.ChampionByKey, x)
		}
	}
}

func (in *Inputs) add(to [][]int64, x *seen) {
	for i, v := range x.Values {
		bin := len(to[i]) - 1
		if v-v == 0 { // a finite number
			bin, _ = slices.BinarySearch(in.Edges[i], v)
		}
		to[i][bin]++
	}
}

func (in *Inputs) learn() {
	in.Edges = make([][]float64, in.features)
	values := make([]float64, 0, learned)
	for i := range in.Edges {
		values = values[:0]
		for _, x := range in.first {
			if v := x.Values[i]; v-v == 0 {
				values = append(values, v)
			}
		}
		in.Edges[i] = edgesOf(values)
	}
	in.Shadow = in.empty()
	in.clear()
	for i := range in.first {
		in.count(&in.first[i])
	}
	in.first = nil
}

// edgesOf returns the upper ends of the quantiles of some values. A value that fills one alone
// is a bin alone: nothing beside it may hide there.
func edgesOf(values []float64) (edges []float64) {
	slices.Sort(values)
	for q := 1; q <= quantileParts && len(values) > 0; q++ {
		at := q*len(values)/quantileParts - 1
		v := values[max(at, 0)]
		if from := at - len(values)/quantileParts; from >= 0 && values[from] == v {
			edges = append(edges, math.Nextafter(v, math.Inf(-1)))
		}
		edges = append(edges, v)
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// Shifts says how far the inputs of the state's step lie from each base.
func (in *Inputs) Shifts(s rollout.State) (shifts []rollout.InputShift) {
	features := s.Rules.Features()
	if in == nil || s.Mode == rollout.ModeShadow || len(features) != in.features {
		return nil
	}
	known := in.Edges != nil && (!s.Recorded() || s.Entered == in.Entered)
	divided := s.Mode == rollout.ModeCanary && s.Weight > 0 && s.Weight < rollout.FullWeight
	for _, base := range []rollout.Base{rollout.AgainstChampionByKey, rollout.AgainstChampion, rollout.AgainstShadow} {
		for i, f := range features {
			// One arm alone has nothing to differ from, and that time passes is no reason to wait.
			f.Hold = f.Hold && divided && base != rollout.AgainstShadow
			if !known {
				shifts = append(shifts, rollout.InputShift{Feature: f.Name, Against: base, Hold: f.Hold})
				continue
			}
			shifts = append(shifts, in.shift(f, base, i))
		}
	}
	return shifts
}

// shift compares the i-th feature.
func (in *Inputs) shift(f rollout.Feature, against rollout.Base, i int) rollout.InputShift {
	switch against {
	case rollout.AgainstChampionByKey:
		return shiftOf(f, against, in.ChampionByKey[i], in.ChallengerByKey[i], keyShift)
	case rollout.AgainstChampion:
		return shiftOf(f, against, in.Champion[i], in.Challenger[i], largeShift)
	}
	both := slices.Clone(in.Champion[i])
	for bin, n := range in.Challenger[i] {
		both[bin] += n
	}
	return shiftOf(f, against, in.Shadow[i], both, largeShift)
}

// leastInputs is how many requests of each side a comparison takes.
const leastInputs = 100

func shiftOf(f rollout.Feature, against rollout.Base, base, other []int64, least float64) rollout.InputShift {
	out := rollout.InputShift{Feature: f.Name, Against: against, Hold: f.Hold}
	var bins []bin
	for i := range base {
		out.To += base[i]
		out.Of += other[i]
		if base[i]+other[i] > 0 {
			bins = append(bins, bin{float64(base[i]), float64(other[i])})
		}
	}
	none := len(base) - 1
	seen := base[none] < out.To || other[none] < out.Of
	out.Enough = seen && min(out.Of, out.To) >= leastInputs
	if min(out.Of, out.To) == 0 {
		return out
	}
	d := distanceOver(bins, float64(out.To), float64(out.Of))
	out.PSI, out.Expected = d.PSI, d.Expected
	out.Shifted = out.Enough && d.PSI >= max(least, d.beyondChance(out.Of, out.To))
	return out
}

// The indices under which a shift is too small to speak of. Requests of one key are like
// each other, so that of them chance makes more than it does of keys.
const (
	keyShift   = 0.1
	largeShift = 0.25
)

// rarely is ln of how rarely chance alone reaches beyondChance at one look: a million times.
// One looks at up to 96 indices, again and again; but what was seen before makes the next
// look no new chance until the counts have about doubled.
var rarely = math.Log(1e6)

// beyondChance is an index that sides of n and m values of one distribution hardly reach.
// PSI / (1/n + 1/m) is then about χ² with bins − 1 = k degrees of freedom, whose tail
// P(χ² ≥ k + 2√(kt) + 2t) is at most e^−t (Laurent & Massart, Annals of Statistics 2000).
func (d Distance) beyondChance(n, m int64) float64 {
	unit := 1/float64(n) + 1/float64(m)
	k := d.Expected / unit
	return unit * (k + 2*math.Sqrt(k*rarely) + 2*rarely)
}

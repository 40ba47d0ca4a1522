package rollout

import "fmt"

// WatchedInput is an input tensor whose values are compared between the arms, and between
// canary and shadow.
type WatchedInput struct {
	Name string `json:"name"`
	// Features are how many elements of a request's first row are watched, from its first.
	Features int `json:"features"`
	// Hold keeps a step of canary while the arms' inputs differ, and while they are too few
	// to say.
	Hold bool `json:"hold,omitempty"`
}

// MaxFeatures bounds the features of all inputs of a model together.
const MaxFeatures = 32

// Feature names one element of a watched input.
type Feature struct {
	// Name is such as "features[3]".
	Name string
	Hold bool
}

// Features lists what is watched, in the order of the inputs.
func (r Rules) Features() (all []Feature) {
	for _, in := range r.Inputs {
		for i := range in.Features {
			all = append(all, Feature{fmt.Sprintf("%s[%d]", in.Name, i), in.Hold})
		}
	}
	return all
}

// Sighting is what was seen of one request's inputs.
type Sighting struct {
	// Key is the routing key; Keyed is false where the request has none of its own.
	Key     string
	Keyed   bool
	Mode    Mode
	Entered uint64
	// Arm is the split's choice.
	Arm Arm
	// Values has one for each of Rules.Features; NaN where the request has none.
	Values []float64
}

// Base is what the distribution of an input is held against.
type Base string

// The bases.
const (
	// AgainstChampion holds the challenger's inputs against the champion's at the same step.
	// They differ where a few routing keys that come often go with an input.
	AgainstChampion Base = "champion"
	// AgainstChampionByKey does so with each routing key's first request at the step: the
	// split deals those out of one stream, so that they differ by chance, or it is broken.
	AgainstChampionByKey Base = "champion_by_key"
	// AgainstShadow holds those of both arms in canary against those in shadow: what
	// differs came with the time.
	AgainstShadow Base = "shadow"
)

// InputShift is how far the distribution of one input lies from its base's.
type InputShift struct {
	// Feature is such as "features[3]".
	Feature string `json:"feature"`
	Against Base   `json:"against"`
	// PSI is the population stability index, Expected about what it is where nothing differs.
	PSI      float64 `json:"psi"`
	Expected float64 `json:"expected"`
	// Of and To count the requests that were compared, and their base's.
	Of int64 `json:"of"`
	To int64 `json:"to"`
	// Enough says that there are enough of both to say anything, Shifted that chance does
	// not explain the difference.
	Enough  bool `json:"enough"`
	Shifted bool `json:"shifted"`
	// Hold says that the step waits for a difference between the arms to go.
	Hold bool `json:"hold,omitempty"`
}

// Holds tells whether the step has to wait for this input.
func (s InputShift) Holds() bool {
	return s.Hold && s.Against != AgainstShadow && (s.Shifted || !s.Enough)
}

// Uneven tells whether the arms get different inputs.
func (s InputShift) Uneven() bool { return s.Against != AgainstShadow && s.Shifted }

package rollout

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Arm is one of the two versions of a model that a rollout compares.
type Arm uint8

// The zero Arm is no arm: nobody answered.
const (
	NoArm Arm = iota
	Champion
	Challenger
)

// String returns "champion", "challenger" or "none".
func (a Arm) String() string {
	switch a {
	case Champion:
		return "champion"
	case Challenger:
		return "challenger"
	}
	return "none"
}

// Spec identifies what an arm runs. Two arms with equal specs are the same arm.
// The zero Spec is no arm.
type Spec struct {
	// Target is a gRPC target, such as "dns:///fraud-v1:8081".
	Target string `json:"target"`
	// Model is the model's name at the target.
	Model string `json:"model"`
	// Version is the model's version at the target; empty lets the target choose.
	Version string `json:"version,omitempty"`
}

// String returns "model:version at target", as people write it in reasons and logs.
func (s Spec) String() string {
	if s == (Spec{}) {
		return "none"
	}
	switch {
	case s.Model == "":
		return s.Target
	case s.Version == "":
		return s.Model + " at " + s.Target
	}
	return s.Model + ":" + s.Version + " at " + s.Target
}

// Mode is the part that the challenger plays.
type Mode uint8

// The modes, in the order of the challenger's exposure; ModeRolledBack stands outside it.
const (
	ModeChampion Mode = iota + 1
	ModeShadow
	ModeCanary
	ModePromoted
	ModeRolledBack
)

var modeNames = [...]string{ModeChampion: "champion", ModeShadow: "shadow", ModeCanary: "canary", ModePromoted: "promoted", ModeRolledBack: "rolled_back"}

// String returns the mode's name as config, metrics and the CLI write it.
func (m Mode) String() string {
	if m >= ModeChampion && m <= ModeRolledBack {
		return modeNames[m]
	}
	return "unknown"
}

// ParseMode is the inverse of Mode.String.
func ParseMode(s string) (Mode, error) {
	for m := ModeChampion; m <= ModeRolledBack; m++ {
		if modeNames[m] == s {
			return m, nil
		}
	}
	return 0, fmt.Errorf("mode %q: want one of %s", s, strings.Join(modeNames[ModeChampion:], ", "))
}

// MarshalText writes the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the mode's name.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}

// Weight is a share in hundredths of a percent: 0 to FullWeight.
type Weight uint16

// FullWeight is the whole of it, 100 %.
const FullWeight Weight = 10_000

// Percent returns the share in percent, 0 to 100.
func (w Weight) Percent() float64 { return float64(w) / 100 }

// String returns the share with its unit, such as "12.5%".
func (w Weight) String() string {
	return strconv.FormatFloat(w.Percent(), 'f', -1, 64) + "%"
}

// WeightFromPercent returns the weight for p percent. It refuses values outside
// 0 to 100 and those finer than 0.01.
func WeightFromPercent(p float64) (Weight, error) {
	scaled := p * 100
	rounded := math.Round(scaled)
	if !(p >= 0 && p <= 100) || math.Abs(scaled-rounded) > 1e-6 {
		return 0, fmt.Errorf("weight %v: want a percentage from 0 to 100 with at most two decimals", p)
	}
	return Weight(rounded), nil
}

package report

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/understudy-serving/understudy/rollout"
)

// comparison reads the record's own.
func (d *decoder) comparison(c *rollout.Comparison, b []byte) error {
	return each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			c.Agree = v.number != 0
		case 2:
			c.Outputs = append(c.Outputs, rollout.OutputComparison{})
			return d.output(&c.Outputs[len(c.Outputs)-1], v.bytes)
		case 3:
			return d.set(&c.Error, v)
		}
		return nil
	})
}

func (d *decoder) output(o *rollout.OutputComparison, b []byte) error {
	return each(b, func(field protowire.Number, v value) error {
		switch field {
		case 1:
			return d.set(&o.Output, v)
		case 2:
			return d.set((*string)(&o.Kind), v)
		case 3:
			o.Agree = v.number != 0
		case 4:
			return d.set((*string)(&o.Finding), v)
		case 5:
			o.Elements = v.number
		case 6:
			o.Differing = v.number
		case 7:
			o.MaxAbsDiff = finite(math.Float64frombits(v.number))
		case 8:
			o.MeanAbsDiff = finite(math.Float64frombits(v.number))
		case 9:
			o.NonFinite = v.number
		case 10:
			return d.set(&o.ChampionClass, v)
		case 11:
			return d.set(&o.ChallengerClass, v)
		}
		return nil
	})
}

// finite returns the finite number that is nearest to v, and 0 for what is no number: JSON
// has no others.
func finite(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return max(-math.MaxFloat64, min(math.MaxFloat64, v))
}

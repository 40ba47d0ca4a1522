package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/understudy-serving/understudy/proto/inference"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

const watchTwo = "[{input: features, features: 2}]"

// explained returns what explain has of a feature against a base.
func (th *theatre) explained(feature, against string) *adminv1.InputShift {
	th.t.Helper()
	res, err := th.admin.Explain(context.Background(), &adminv1.ExplainRequest{Model: "risk"})
	if err != nil {
		th.t.Fatal(err)
	}
	for _, s := range res.Judgement.GetInputs() {
		if s.Feature == feature && s.Against == against {
			return s
		}
	}
	return &adminv1.InputShift{}
}

// values sets the features that are watched.
func values(r *inference.ModelInferRequest, v ...float32) {
	row := append([]float32(nil), r.Inputs[0].Contents.Fp32Contents...)
	copy(row, v)
	r.Inputs[0].Contents.Fp32Contents = row
}

// A routing key that is the amount's gives each arm amounts of its own: that is said, and
// with hold the step waits.
func TestARoutingKeyThatGoesWithAnInput(t *testing.T) {
	th := open(t, stub(t), func(p *play) {
		p.Plan = "[{shadow: {minRequests: 1}}, {setWeight: 50}, {pause: {duration: 1ms, minRequests: 1}}]"
		p.Inputs, p.MirrorCap = "[{input: features, features: 2, hold: true}]", 256
	})
	th.dress = func(n int, r *inference.ModelInferRequest) {
		bucket := n % 8
		values(r, rand.Float32(), float32(bucket)+rand.Float32())
		r.Parameters["user_id"] = text(fmt.Sprint("amount-", bucket))
	}
	th.mustServe(0, 50)
	th.eventually("canary", func() bool { return th.rollout().Mode == adminv1.Mode_MODE_CANARY })
	th.mustServe(0, 1200)
	th.eventually("the input is named", func() bool { return th.explained("features[1]", "champion").Shifted })
	if s := th.explained("features[0]", "champion"); !s.Enough || s.Shifted {
		t.Errorf("the other input: %v", s)
	}
	r := th.rollout()
	if w := strings.Join(r.Warnings, "; "); !strings.Contains(w, "the arms get different inputs") || !strings.Contains(w, "features[1]") || strings.Contains(w, "features[0]") {
		t.Errorf("warnings %q", r.Warnings)
	}
	if r.Mode != adminv1.Mode_MODE_CANARY || !strings.Contains(r.WaitingFor, "the same inputs on both arms") {
		t.Errorf("%s, waiting for %q", r.Mode, r.WaitingFor)
	}
	if psi := th.metric("understudy_input_shift_psi", `input="features[1]"`, `against="champion"`); psi < 0.25 {
		t.Errorf("PSI %v in the metrics", psi)
	}
}

// Inputs that change with the time are told from inputs that differ between the arms, and
// inputs that do not change stay quiet; the rollout goes on.
func TestInputsThatChangeWithTheTime(t *testing.T) {
	for name, later := range map[string]float32{"nothing changes": 0, "later": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			th := open(t, stub(t), func(p *play) {
				p.Plan, p.Inputs, p.MirrorCap = "[{shadow: {minRequests: 1100}}, {setWeight: 50}, {pause: {}}]", watchTwo, 256
			})
			var shift float32
			th.dress = func(_ int, r *inference.ModelInferRequest) {
				values(r, float32(rand.NormFloat64()), shift+float32(rand.NormFloat64()))
			}
			for from := 0; th.rollout().Mode == adminv1.Mode_MODE_SHADOW && from < 6000; from += 300 {
				th.mustServe(from, 300)
			}
			th.eventually("canary", func() bool { return th.rollout().Mode == adminv1.Mode_MODE_CANARY })
			shift = later
			th.mustServe(10_000, 1500)
			th.eventually("all are counted", func() bool { return th.explained("features[1]", "shadow").Requests > 1400 })
			if s := th.explained("features[1]", "shadow"); s.Shifted != (later > 0) {
				t.Errorf("against shadow: %v", s)
			}
			if s := th.explained("features[0]", "shadow"); s.Shifted {
				t.Errorf("what did not change: %v", s)
			}
			for _, against := range []string{"champion_by_key", "champion"} {
				if s := th.explained("features[1]", against); !s.Enough || s.Shifted {
					t.Errorf("between the arms: %v", s)
				}
			}
			if r := th.rollout(); len(r.Warnings) > 0 {
				t.Errorf("warnings %q", r.Warnings)
			}
			if n := th.metric("understudy_input_unread_total"); n > 0 {
				t.Errorf("%v inputs were not read", n)
			}
		})
	}
}

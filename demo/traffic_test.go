package demo

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/proto/inference"
)

// stub answers as a gateway would, after a while.
type stub struct {
	inference.GRPCInferenceServiceClient
	calls  atomic.Int64
	takes  time.Duration
	answer func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error)
	id     string
}

func (s *stub) ModelInfer(ctx context.Context, r *inference.ModelInferRequest, o ...grpc.CallOption) (*inference.ModelInferResponse, error) {
	s.calls.Add(1)
	for _, option := range o {
		if header, ok := option.(grpc.HeaderCallOption); ok && s.id != "" {
			*header.HeaderAddr = metadata.Pairs("x-understudy-id", s.id)
		}
	}
	select {
	case <-time.After(s.takes):
		return s.answer(r)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// says answers like the version would.
func says(version string, probability float64) func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	return func(r *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return &inference.ModelInferResponse{ModelName: r.GetModelName(), ModelVersion: version, Id: r.GetId(),
			Outputs: []*inference.ModelInferResponse_InferOutputTensor{{
				Name: "probability", Contents: &inference.InferTensorContents{Fp32Contents: []float32{float32(probability)}},
			}}}, nil
	}
}

func testRow() models.Row {
	return models.Row{Features: make([]float32, models.Features), Logistic: 0.25, Trees: 0.75}
}

func TestClientsKeepTheirPaceAndWaitForTheLastAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: 150 * time.Millisecond, answer: says(championVersion, 0.25), id: "u"}
		c := &clients{stub: s, model: "m", rows: []models.Row{testRow()}, keep: keepAll}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+time.Millisecond)
		defer cancel()
		c.run(ctx, 100)
		f := c.figures()
		if f.Requests != 200 || f.Errors != 0 || int64(f.Requests) != s.calls.Load() || f.Answered != 200 {
			t.Errorf("figures %+v after 2 s at 100 a second, %d calls", f, s.calls.Load())
		}
		if f.P50 != s.takes || f.Slowest != s.takes || f.ByChallenger != 0 {
			t.Errorf("latencies and arms %+v", f)
		}
	})
}

func TestClientsAskNoMoreThanCanBeAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stub{takes: time.Second, answer: says(championVersion, 0.25), id: "u"}
		c := &clients{stub: s, model: "m", rows: []models.Row{testRow()}, keep: keepAll}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second-time.Millisecond)
		defer cancel()
		c.run(ctx, 100)
		if f := c.figures(); f.Requests > 3*maxWaiting || f.Slowest != s.takes {
			t.Errorf("%d requests in two rounds of %d, the slowest %v", f.Requests, maxWaiting, f.Slowest)
		}
	})
}

func TestClientsGiveUpAfterTheirPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clients{stub: &stub{takes: time.Hour}, model: "m", rows: []models.Row{testRow()}, keep: keepAll}
		begin := time.Now()
		if a := c.ask(0); !errors.Is(a.err, context.DeadlineExceeded) || time.Since(begin) != patience {
			t.Errorf("%v after %v", a.err, time.Since(begin))
		}
	})
}

func TestClientsInspectAnswers(t *testing.T) {
	wrong := func(change func(*inference.ModelInferResponse)) func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
		return func(r *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			response, err := says(challengerVersion, 0.75)(r)
			change(response)
			return response, err
		}
	}
	cases := map[string]struct {
		answer func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error)
		id     string
		want   string
	}{
		"the champion's":           {says(championVersion, 0.25), "u", ""},
		"the challenger's":         {says(challengerVersion, 0.75), "u", ""},
		"one arm's by the other":   {says(challengerVersion, 0.25), "u", "its model says"},
		"no arm's":                 {says("3", 0.25), "u", "no arm"},
		"another model's":          {wrong(func(r *inference.ModelInferResponse) { r.ModelName = "x" }), "u", "answered as"},
		"another request's":        {wrong(func(r *inference.ModelInferResponse) { r.Id = "x" }), "u", "answered as"},
		"without outputs":          {wrong(func(r *inference.ModelInferResponse) { r.Outputs = nil }), "u", "its model says"},
		"without the gateway's id": {says(championVersion, 0.25), "", "x-understudy-id"},
		"an error of the connection": {func(*inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
			return nil, errors.New("gone")
		}, "", "gone"},
	}
	for name, c := range cases {
		a := (&clients{stub: &stub{answer: c.answer, id: c.id}, model: "m", rows: []models.Row{testRow()}}).ask(0)
		if (a.err == nil) != (c.want == "") || a.err != nil && !strings.Contains(a.err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, a.err, c.want)
		}
		if a.id != c.id {
			t.Errorf("%s: id %q", name, a.id)
		}
	}
}

func TestRequestsCarryAUserAndTheUsersClinic(t *testing.T) {
	r := inferRequest("m", "row-1", 9, testRow())
	if r.GetParameters()["user_id"].GetStringParam() != "user-0009" || r.GetParameters()["clinic"].GetStringParam() != wrongClinic ||
		r.GetInputs()[0].GetShape()[1] != models.Features {
		t.Errorf("request %v", r)
	}
	asked := map[string]int{}
	for user := range users {
		asked[inferRequest("m", "", user, testRow()).GetParameters()[clinicKey].GetStringParam()]++
	}
	if len(asked) != 5 || asked[wrongClinic] != users/5 {
		t.Errorf("users of clinics: %v", asked)
	}
}

func TestKeptAnswersAreBoundedAndTotalsAreNot(t *testing.T) {
	c := &clients{keep: 10}
	first := errors.New("first")
	c.add(answer{err: first})
	c.add(answer{err: errors.New("second")})
	for range 98 {
		c.add(answer{version: challengerVersion})
	}
	f := c.figures()
	if f.Requests != 100 || f.Errors != 2 || f.FirstError != first || len(c.answers()) > 10 || f.Answered > 10 || f.ByChallenger != f.Answered {
		t.Errorf("figures %+v, %d kept", f, len(c.answers()))
	}
}

func TestFiguresOfNothing(t *testing.T) {
	if f := (&clients{}).figures(); f != (clientFigures{}) {
		t.Errorf("figures %+v", f)
	}
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	"github.com/understudy-serving/understudy/proto/inference"
)

const (
	// users is how many different routing keys the clients send. A pass takes keys: with few
	// of them a step would take longer.
	users = 5000
	// patience is the deadline of a client's call.
	patience = 10 * time.Second
	// maxWaiting bounds a client's calls in flight: a machine that is too busy for the rate
	// gets fewer requests, and not ever slower answers.
	maxWaiting = 16
	// championVersion and challengerVersion are the versions of all models' arms, and so
	// what an answer's model_version says.
	championVersion, challengerVersion = "1", "2"
)

// answer is what a client got for one request.
type answer struct {
	// id is the gateway's, from x-understudy-id.
	id         string
	sent, done time.Time
	// version tells which arm answered.
	version string
	// err is the call's, or says what is wrong with an answer that came back OK.
	err error
}

// clients send the held-out rows to one model, as many users, and keep every answer.
type clients struct {
	stub  inference.GRPCInferenceServiceClient
	model string
	rows  []models.Row
	// keep bounds the answers kept; the totals count on.
	keep int

	mu               sync.Mutex
	kept             []answer
	requests, errors int
	first            error
}

// run sends so many requests a second until ctx ends, and returns when the last of
// them has its answer.
func (c *clients) run(ctx context.Context, perSecond int) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	slots := make(chan struct{}, maxWaiting)
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		slots <- struct{}{}
		waiting.Go(func() {
			defer func() { <-slots }()
			c.add(c.ask(n))
		})
	}
}

// ask sends the n-th request. Its time does not end with run's: what was sent is
// waited for.
func (c *clients) ask(n int) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	row := c.rows[n%len(c.rows)]
	request := inferRequest(c.model, fmt.Sprintf("row-%d", n), rand.IntN(users), row)
	a := answer{sent: time.Now()}
	var header metadata.MD
	response, err := c.stub.ModelInfer(ctx, request, grpc.Header(&header))
	a.done = time.Now()
	if ids := header.Get("x-understudy-id"); len(ids) == 1 {
		a.id = ids[0]
	}
	if a.err = err; err != nil {
		return a
	}
	a.version = response.GetModelVersion()
	a.err = inspect(request, row, response)
	if a.err == nil && a.id == "" {
		a.err = errors.New("an answer without x-understudy-id")
	}
	return a
}

// inferRequest asks about a row, as a user and from the user's clinic.
func inferRequest(model, id string, user int, row models.Row) *inference.ModelInferRequest {
	text := func(s string) *inference.InferParameter {
		return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
	}
	return &inference.ModelInferRequest{
		ModelName: model, Id: id,
		Parameters: map[string]*inference.InferParameter{
			userKey:   text(fmt.Sprintf("user-%04d", user)),
			clinicKey: text(clinics()[user%len(clinics())]),
		},
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{
			Name: modelserver.InputName, Datatype: "FP32", Shape: []int64{1, models.Features},
			Contents: &inference.InferTensorContents{Fp32Contents: row.Features},
		}},
	}
}

// inspect tells what is wrong with an answer. It knows what each model says to each
// row, so that an answer mixed up on the way is an error, not a prediction.
func inspect(request *inference.ModelInferRequest, row models.Row, response *inference.ModelInferResponse) error {
	if response.GetModelName() != request.GetModelName() || response.GetId() != request.GetId() {
		return fmt.Errorf("asked model %q with id %q, answered as %q with id %q",
			request.GetModelName(), request.GetId(), response.GetModelName(), response.GetId())
	}
	var want float64
	switch response.GetModelVersion() {
	case championVersion:
		want = row.Logistic
	case challengerVersion:
		want = row.Trees
	default:
		return fmt.Errorf("answered by version %q, which no arm has", response.GetModelVersion())
	}
	for _, output := range response.GetOutputs() {
		got := output.GetContents().GetFp32Contents()
		if output.GetName() == modelserver.ProbabilityName && len(got) == 1 && math.Abs(float64(got[0])-want) < 1e-6 {
			return nil
		}
	}
	return fmt.Errorf("version %s answered %v, its model says %v", response.GetModelVersion(), response.GetOutputs(), want)
}

func (c *clients) add(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if a.err != nil {
		c.errors++
		if c.first == nil {
			c.first = a.err
		}
	}
	if len(c.kept) >= c.keep {
		c.kept = slices.Delete(c.kept, 0, (c.keep+1)/2)
	}
	c.kept = append(c.kept, a)
}

// answers returns what was kept, in the order of arrival.
func (c *clients) answers() []answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.kept)
}

// clientFigures is what the audience has seen. Latencies and versions are of the
// answers kept.
type clientFigures struct {
	Requests, Errors  int
	P50, P99, Slowest time.Duration
	Answered          int // without error
	ByChallenger      int // of these
	FirstError        error
}

func (c *clients) figures() clientFigures {
	c.mu.Lock()
	f := clientFigures{Requests: c.requests, Errors: c.errors, FirstError: c.first}
	kept := slices.Clone(c.kept)
	c.mu.Unlock()
	var latencies []time.Duration
	for _, a := range kept {
		if a.err != nil {
			continue
		}
		f.Answered++
		if a.version == challengerVersion {
			f.ByChallenger++
		}
		latencies = append(latencies, a.done.Sub(a.sent))
	}
	if len(latencies) == 0 {
		return f
	}
	slices.Sort(latencies)
	rank := func(q float64) time.Duration { return latencies[int(q*float64(len(latencies)-1))] }
	f.P50, f.P99, f.Slowest = rank(0.5), rank(0.99), rank(1)
	return f
}

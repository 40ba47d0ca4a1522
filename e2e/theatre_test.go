// Package e2e tells the project's story over the whole of it: real model servers, a
// real gateway on real sockets, records read back from the topic by a consumer of its own.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	"github.com/understudy-serving/understudy/kafkatest"
	"github.com/understudy-serving/understudy/proto/inference"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

var kafka kafkatest.Shared

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafka.Around(m)) }

const patience = 20 * time.Second

const breakerThreshold = 10

// theatre is a running gateway with its model servers, broker and client.
type theatre struct {
	t                    *testing.T
	play                 play
	champion, challenger *modelserver.Server
	rows                 []models.Row
	logistic             *models.Logistic
	// whim is what the challenger makes of its model's score, mood what the champion does.
	whim, mood atomic.Pointer[func(row []float32, score float32) float32]
	// region, where not nil, gives requests a parameter.
	region func(row []float32) string
	// dress, where not nil, changes the n-th request.
	dress func(n int, r *inference.ModelInferRequest)

	app       *app.App
	adminAddr string
	stop      func() error
	conn      *grpc.ClientConn
	client    inference.GRPCInferenceServiceClient
	admin     adminv1connect.RolloutServiceClient
	desk      adminv1connect.OutcomeServiceClient
}

// stub is Kafka in this process; everything but the tests of Kafka itself uses it.
func stub(t *testing.T) []string {
	return kafkatest.Fake(t, kfake.NumBrokers(1)).ListenAddrs()
}

// open raises the curtain: shadow that waits for an operator, unless change says more.
func open(t *testing.T, brokers []string, change func(*play)) *theatre {
	th := &theatre{t: t}
	var err error
	if th.rows, err = models.HeldOut(); err != nil {
		t.Fatal(err)
	}
	logistic, err := models.NewLogistic()
	if err != nil {
		t.Fatal(err)
	}
	trees, err := models.NewTrees()
	if err != nil {
		t.Fatal(err)
	}
	th.logistic = logistic
	th.champion = th.serve(modelserver.Options{Name: "risk-v1", Version: "1", Model: moody{logistic, &th.mood}})
	th.challenger = th.serve(modelserver.Options{Name: "risk-v2", Version: "2", Model: moody{trees, &th.whim}})
	th.play = play{
		Champion: th.champion.Addr(), Challenger: th.challenger.Addr(),
		Brokers: brokers, Topic: kafkatest.Topic(t, brokers, 4, nil), Dir: t.TempDir(),
		Timeout: "300ms", MaxInFlight: 8, MirrorCap: 16, MirrorTimeout: "500ms",
		Plan: "[{shadow: {bake: 1h}}, {setWeight: 50}, {pause: {}}]", OpenFor: "300ms", MaxMessage: "8MiB", MaxRecord: "1MB",
	}
	if change != nil {
		change(&th.play)
	}
	th.start()
	return th
}

// moody is a model whose answers a test can spoil while it serves.
type moody struct {
	modelserver.Model
	whim *atomic.Pointer[func([]float32, float32) float32]
}

func (m moody) Score(row []float32) float32 {
	score := m.Model.Score(row)
	if whim := m.whim.Load(); whim != nil {
		return (*whim)(row, score)
	}
	return score
}

func (th *theatre) serve(o modelserver.Options) *modelserver.Server {
	th.t.Helper()
	o.Delay = func() time.Duration { return 0 }
	s, err := modelserver.New(o)
	if err != nil {
		th.t.Fatal(err)
	}
	th.t.Cleanup(s.Close)
	return s
}

func (th *theatre) yaml() []byte {
	var b bytes.Buffer
	if err := script.Execute(&b, th.play); err != nil {
		th.t.Fatal(err)
	}
	return b.Bytes()
}

// start runs a gateway on the theatre's configuration and connects to it.
func (th *theatre) start() {
	t := th.t
	t.Helper()
	cfg, err := config.Parse("understudy.yaml", th.yaml())
	if err != nil {
		t.Fatal(err)
	}
	th.app, err = app.New(cfg, app.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- th.app.Run(ctx) }()
	<-th.app.Ready()
	th.connect(th.app.GRPCAddr().String(), th.app.AdminAddr().String())
	th.eventually("the stored state is loaded", func() bool { return th.rollout().Revision > 0 })
	th.stop = sync.OnceValue(func() error {
		_ = th.conn.Close()
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := th.stop(); err != nil {
			t.Errorf("the gateway ended with: %v", err)
		}
	})
}

func (th *theatre) connect(grpcAddr, adminAddr string) {
	th.t.Helper()
	var err error
	th.conn, err = grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		th.t.Fatal(err)
	}
	th.adminAddr = adminAddr
	th.client = inference.NewGRPCInferenceServiceClient(th.conn)
	transport := &http.Transport{}
	th.t.Cleanup(transport.CloseIdleConnections)
	th.admin = adminv1connect.NewRolloutServiceClient(&http.Client{Transport: transport}, "http://"+adminAddr)
	th.desk = adminv1connect.NewOutcomeServiceClient(&http.Client{Transport: transport}, "http://"+adminAddr)
}

// request is the n-th request; its routing key is user-n.
func (th *theatre) request(n int) *inference.ModelInferRequest {
	row := th.rows[n%len(th.rows)].Features
	r := &inference.ModelInferRequest{
		ModelName: "risk", Id: fmt.Sprintf("client-%d", n),
		Parameters: map[string]*inference.InferParameter{"user_id": text(fmt.Sprintf("user-%d", n))},
		Inputs: []*inference.ModelInferRequest_InferInputTensor{{
			Name: "features", Datatype: "FP32", Shape: []int64{1, models.Features},
			Contents: &inference.InferTensorContents{Fp32Contents: row}}},
	}
	if th.region != nil {
		r.Parameters["region"] = text(th.region(row))
	}
	if th.dress != nil {
		th.dress(n, r)
	}
	return r
}

func text(s string) *inference.InferParameter {
	return &inference.InferParameter{ParameterChoice: &inference.InferParameter_StringParam{StringParam: s}}
}

// reply is what a client got.
type reply struct {
	id      string // the gateway's
	ticket  string
	version string // of the arm that answered
	err     error
}

func (th *theatre) infer(ctx context.Context, n int) reply {
	var header metadata.MD
	req := th.request(n)
	resp, err := th.client.ModelInfer(ctx, req, grpc.Header(&header))
	r := reply{err: err}
	if ids := header.Get("x-understudy-id"); len(ids) == 1 {
		r.id = ids[0]
	}
	if tickets := header.Get("x-understudy-ticket"); len(tickets) == 1 {
		r.ticket = tickets[0]
	}
	if err == nil {
		r.version = resp.ModelVersion
		if resp.ModelName != "risk" || resp.Id != req.Id {
			r.err = fmt.Errorf("answered as model %q with id %q, want risk and %q", resp.ModelName, resp.Id, req.Id)
		}
	}
	return r
}

// send makes requests from…from+n-1 over some workers and returns the replies in order.
func (th *theatre) send(from, n int) []reply {
	const workers = 16
	out := make([]reply, n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				out[i] = th.infer(ctx, from+i)
				cancel()
			}
		})
	}
	wg.Wait()
	return out
}

// mustServe is send where every request must succeed.
func (th *theatre) mustServe(from, n int) []reply {
	th.t.Helper()
	replies := th.send(from, n)
	failed := 0
	for _, r := range replies {
		if r.err != nil {
			if failed++; failed <= 3 {
				th.t.Errorf("a client saw: %v", r.err)
			}
		}
	}
	if failed > 0 {
		th.t.Fatalf("%d of %d requests failed, want 0", failed, n)
	}
	return replies
}

func (th *theatre) rollout() *adminv1.Rollout {
	th.t.Helper()
	r, err := th.admin.GetRollout(context.Background(), &adminv1.GetRolloutRequest{Model: "risk"})
	if err != nil {
		th.t.Fatal(err)
	}
	return r.Rollout
}

// canary puts the challenger on stage by hand.
func (th *theatre) canary(percent float64) {
	th.t.Helper()
	_, err := th.admin.SetMode(context.Background(), &adminv1.SetModeRequest{Model: "risk", Mode: adminv1.Mode_MODE_CANARY,
		WeightPercent: percent, ExpectedRevision: th.rollout().Revision, Reason: "test"})
	if err != nil {
		th.t.Fatal(err)
	}
}

// eventually waits until ok says so.
func (th *theatre) eventually(what string, ok func() bool) {
	th.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			th.t.Fatalf("not within %s: %s; the rollout is %v", patience, what, th.rollout())
		}
	}
}

// records ends the gateway and reads everything on the topic.
func (th *theatre) records() map[string]*recordv1.Prediction {
	th.t.Helper()
	if err := th.stop(); err != nil {
		th.t.Fatal(err)
	}
	out := map[string]*recordv1.Prediction{}
	for _, m := range kafkatest.All(th.t, th.play.Brokers, th.play.Topic, patience) {
		var p recordv1.Prediction
		if err := proto.Unmarshal(m.Value, &p); err != nil {
			th.t.Fatalf("a record does not decode: %v", err)
		}
		if string(m.Key) != p.Id || out[p.Id] != nil {
			th.t.Errorf("record %s under key %s: want one record an id, under it", p.Id, m.Key)
		}
		out[p.Id] = &p
	}
	return out
}

// metric returns the sum of a metric's series whose labels contain all of with.
func (th *theatre) metric(name string, with ...string) float64 {
	th.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://" + th.adminAddr + "/metrics")
	if err != nil {
		th.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		th.t.Fatal(err)
	}
	sum := 0.0
lines:
	for line := range strings.Lines(string(text)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		base, labels, _ := strings.Cut(series, "{")
		if !ok || base != name {
			continue
		}
		for _, w := range with {
			if !strings.Contains(labels, w) {
				continue lines
			}
		}
		var v float64
		if _, err := fmt.Sscan(value, &v); err == nil {
			sum += v
		}
	}
	return sum
}

func (th *theatre) path(name string) string { return filepath.Join(th.play.Dir, name) }

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

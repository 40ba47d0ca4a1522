package modelserver

import (
	"context"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/proto/inference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server without delay and returns a client of it.
func start(t *testing.T) (*Server, inference.GRPCInferenceServiceClient) {
	t.Helper()
	model, err := models.NewTrees()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Name: "trees", Version: "2", Model: model, Delay: func() time.Duration { return 0 }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return s, inference.NewGRPCInferenceServiceClient(conn)
}

func heldOut(t *testing.T, n int) []models.Row {
	t.Helper()
	rows, err := models.HeldOut()
	if err != nil {
		t.Fatal(err)
	}
	return rows[:n]
}

// typed is a good request in typed contents.
func typed(rows []models.Row) *inference.ModelInferRequest {
	var values []float32
	for _, row := range rows {
		values = append(values, row.Features...)
	}
	return &inference.ModelInferRequest{ModelName: "trees", Id: "mine", Inputs: []*inference.ModelInferRequest_InferInputTensor{{
		Name: InputName, Datatype: "FP32", Shape: []int64{int64(len(rows)), models.Features},
		Contents: &inference.InferTensorContents{Fp32Contents: values},
	}}}
}

// raw is the same request in raw contents.
func raw(rows []models.Row) *inference.ModelInferRequest {
	r := typed(rows)
	var b []byte
	for _, v := range r.Inputs[0].Contents.Fp32Contents {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	r.Inputs[0].Contents = nil
	r.RawInputContents = [][]byte{b}
	return r
}

func TestTypedBatch(t *testing.T) {
	_, client := start(t)
	rows := heldOut(t, 3)
	answer, err := client.ModelInfer(t.Context(), typed(rows))
	if err != nil {
		t.Fatal(err)
	}
	if answer.GetModelName() != "trees" || answer.GetModelVersion() != "2" || answer.GetId() != "mine" || len(answer.GetOutputs()) != 2 {
		t.Fatalf("answer %v", answer)
	}
	for i, row := range rows {
		p := answer.GetOutputs()[0].GetContents().GetFp32Contents()[i]
		if math.Abs(float64(p)-row.Trees) > 1e-6 {
			t.Errorf("row %d: probability %v, want %v", i, p, row.Trees)
		}
		if label := string(answer.GetOutputs()[1].GetContents().GetBytesContents()[i]); label != models.Label(p) {
			t.Errorf("row %d: label %q for %v", i, label, p)
		}
	}
}

func TestRawBatchIsAnsweredRaw(t *testing.T) {
	_, client := start(t)
	rows := heldOut(t, 2)
	answer, err := client.ModelInfer(t.Context(), raw(rows))
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.GetRawOutputContents()) != 2 || answer.GetOutputs()[0].GetContents() != nil {
		t.Fatalf("answer %v, want two raw outputs", answer)
	}
	got := floats(answer.GetRawOutputContents()[0])
	for i, row := range rows {
		if math.Abs(float64(got[i])-row.Trees) > 1e-6 {
			t.Errorf("row %d: probability %v, want %v", i, got[i], row.Trees)
		}
	}
	labels := answer.GetRawOutputContents()[1]
	for _, p := range got {
		n := binary.LittleEndian.Uint32(labels)
		if label := string(labels[4 : 4+n]); label != models.Label(p) {
			t.Errorf("label %q for %v", label, p)
		}
		labels = labels[4+n:]
	}
}

func TestRowsArePreparedOneByOne(t *testing.T) {
	s, _ := start(t)
	var seen []string
	s.options.Prepare = func(r *inference.ModelInferRequest, row []float32) {
		seen = append(seen, r.GetId())
		clear(row)
	}
	answer, err := s.ModelInfer(t.Context(), typed(heldOut(t, 2)))
	if err != nil {
		t.Fatal(err)
	}
	want := s.options.Model.Score(make([]float32, models.Features))
	if p := answer.GetOutputs()[0].GetContents().GetFp32Contents(); len(seen) != 2 || seen[0] != "mine" || p[0] != want || p[1] != want {
		t.Errorf("prepared for %q, probabilities %v; want %v twice", seen, p, want)
	}
}

func TestOnlyTheOutputsAskedFor(t *testing.T) {
	_, client := start(t)
	r := typed(heldOut(t, 1))
	r.Outputs = []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: LabelName}}
	answer, err := client.ModelInfer(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(answer.GetOutputs()) != 1 || answer.GetOutputs()[0].GetName() != LabelName {
		t.Errorf("outputs %v, want label alone", answer.GetOutputs())
	}
}

func TestBadRequests(t *testing.T) {
	_, client := start(t)
	cases := map[string]struct {
		spoil func(*inference.ModelInferRequest)
		want  codes.Code
	}{
		"unknown model":    {func(r *inference.ModelInferRequest) { r.ModelName = "x" }, codes.NotFound},
		"unknown version":  {func(r *inference.ModelInferRequest) { r.ModelVersion = "9" }, codes.NotFound},
		"no input":         {func(r *inference.ModelInferRequest) { r.Inputs = nil }, codes.InvalidArgument},
		"input name":       {func(r *inference.ModelInferRequest) { r.Inputs[0].Name = "x" }, codes.InvalidArgument},
		"datatype":         {func(r *inference.ModelInferRequest) { r.Inputs[0].Datatype = "FP64" }, codes.InvalidArgument},
		"rank":             {func(r *inference.ModelInferRequest) { r.Inputs[0].Shape = []int64{30} }, codes.InvalidArgument},
		"width":            {func(r *inference.ModelInferRequest) { r.Inputs[0].Shape = []int64{1, 29} }, codes.InvalidArgument},
		"no rows":          {func(r *inference.ModelInferRequest) { r.Inputs[0].Shape = []int64{0, 30} }, codes.InvalidArgument},
		"fewer rows":       {func(r *inference.ModelInferRequest) { r.Inputs[0].Shape = []int64{2, 30} }, codes.InvalidArgument},
		"overflowing rows": {func(r *inference.ModelInferRequest) { r.Inputs[0].Shape = []int64{math.MaxInt64, 30} }, codes.InvalidArgument},
		"broken float":     {func(r *inference.ModelInferRequest) { r.RawInputContents[0] = r.RawInputContents[0][1:] }, codes.InvalidArgument},
		"two raw inputs":   {func(r *inference.ModelInferRequest) { r.RawInputContents = append(r.RawInputContents, nil) }, codes.InvalidArgument},
		"raw and typed":    {func(r *inference.ModelInferRequest) { r.Inputs[0].Contents = &inference.InferTensorContents{} }, codes.InvalidArgument},
		"neither":          {func(r *inference.ModelInferRequest) { r.RawInputContents = nil }, codes.InvalidArgument},
		"unknown output": {func(r *inference.ModelInferRequest) {
			r.Outputs = []*inference.ModelInferRequest_InferRequestedOutputTensor{{Name: "x"}}
		}, codes.InvalidArgument},
		"good after all bad": {func(*inference.ModelInferRequest) {}, codes.OK},
	}
	for name, c := range cases {
		r := raw(heldOut(t, 1))
		c.spoil(r)
		if _, err := client.ModelInfer(t.Context(), r); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestTheOtherMethods(t *testing.T) {
	s, client := start(t)
	ctx := t.Context()
	if r, err := client.ServerLive(ctx, &inference.ServerLiveRequest{}); err != nil || !r.GetLive() {
		t.Errorf("ServerLive: %v, %v", r, err)
	}
	if r, err := client.ServerReady(ctx, &inference.ServerReadyRequest{}); err != nil || !r.GetReady() {
		t.Errorf("ServerReady: %v, %v", r, err)
	}
	if r, err := client.ServerMetadata(ctx, &inference.ServerMetadataRequest{}); err != nil || r.GetName() == "" {
		t.Errorf("ServerMetadata: %v, %v", r, err)
	}
	if r, err := client.ModelReady(ctx, &inference.ModelReadyRequest{Name: "trees", Version: "2"}); err != nil || !r.GetReady() {
		t.Errorf("ModelReady: %v, %v", r, err)
	}
	if _, err := client.ModelReady(ctx, &inference.ModelReadyRequest{Name: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("ModelReady of another model: %v", err)
	}
	if r, err := client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "trees"}); err != nil || len(r.GetInputs()) != 1 || len(r.GetOutputs()) != 2 {
		t.Errorf("ModelMetadata: %v, %v", r, err)
	}
	if _, err := client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "trees", Version: "9"}); status.Code(err) != codes.NotFound {
		t.Errorf("ModelMetadata of another version: %v", err)
	}
	if n := s.Counts().Total(); n != 0 {
		t.Errorf("%d inferences counted, want none", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{Name: "x"}); err == nil {
		t.Error("a server without a model started")
	}
	s, _ := start(t)
	if _, err := New(Options{Name: "x", Model: s.options.Model, Addr: s.Addr()}); err == nil {
		t.Error("a second server started on the same address")
	}
}

func TestComesBackAtItsAddress(t *testing.T) {
	s, client := start(t)
	s.Close()
	if _, err := client.ModelInfer(t.Context(), typed(heldOut(t, 1))); status.Code(err) != codes.Unavailable {
		t.Fatalf("closed server: %v, want UNAVAILABLE", err)
	}
	again, err := New(Options{Name: "trees", Model: s.options.Model, Addr: s.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.ModelInfer(ctx, typed(heldOut(t, 1)), grpc.WaitForReady(true)); err != nil {
		t.Errorf("restarted server: %v", err)
	}
	again.Close() // twice is fine
}

func TestCountsTellMirroredCallsApart(t *testing.T) {
	s, client := start(t)
	before := time.Now()
	mirrored := metadata.AppendToOutgoingContext(t.Context(), mirrorKey, "1")
	for _, ctx := range []context.Context{t.Context(), mirrored, mirrored} {
		if _, err := client.ModelInfer(ctx, typed(heldOut(t, 1))); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Counts(); got != (Counts{Live: 1, Mirrored: 2}) || got.Total() != 3 {
		t.Errorf("counts %+v", got)
	}
	calls := s.Calls()
	if got := s.Since(before); got.Total() != 3 {
		t.Errorf("since before the first: %+v", got)
	}
	if got := s.Since(calls[1].Received); got != (Counts{Mirrored: 1}) {
		t.Errorf("since the second: %+v", got)
	}
	for i, c := range calls {
		if c.Mirrored != (i > 0) || c.Code != codes.OK || c.Ended.Before(c.Received) {
			t.Errorf("call %d: %+v", i, c)
		}
	}
}

package modelserver

import (
	"context"
	"encoding/binary"
	"math"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/proto/inference"
)

// The model's tensors.
const (
	// InputName is the one input: FP32, shape [n, models.Features].
	InputName = "features"
	// ProbabilityName is an output: FP32, shape [n].
	ProbabilityName = "probability"
	// LabelName is an output: BYTES, shape [n], models.Malignant or models.Benign.
	LabelName = "label"
)

func (s *Server) metadata() *inference.ModelMetadataResponse {
	type tensor = inference.ModelMetadataResponse_TensorMetadata
	return &inference.ModelMetadataResponse{
		Name: s.options.Name, Versions: []string{s.options.Version}, Platform: "understudy-demo",
		Inputs: []*tensor{{Name: InputName, Datatype: "FP32", Shape: []int64{-1, models.Features}}},
		Outputs: []*tensor{
			{Name: ProbabilityName, Datatype: "FP32", Shape: []int64{-1}},
			{Name: LabelName, Datatype: "BYTES", Shape: []int64{-1}},
		},
	}
}

// ModelInfer scores each row of the batch. A request whose tensors are not what
// ModelMetadata says is INVALID_ARGUMENT. The answer is raw where the request was.
func (s *Server) ModelInfer(ctx context.Context, r *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	if err := s.knows(r.GetModelName(), r.GetModelVersion()); err != nil {
		return nil, err
	}
	values, err := decode(r)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedOutputs(r)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, s.options.Delay()); err != nil {
		return nil, err
	}
	probabilities := make([]float32, 0, len(values)/models.Features)
	for row := range slices.Chunk(values, models.Features) {
		s.options.Prepare(r, row)
		probabilities = append(probabilities, s.options.Model.Score(row))
	}
	answer := &inference.ModelInferResponse{ModelName: s.options.Name, ModelVersion: s.options.Version, Id: r.GetId()}
	raw := len(r.GetRawInputContents()) > 0
	for _, name := range wanted {
		addOutput(answer, name, probabilities, raw)
	}
	return answer, nil
}

// decode returns the values of the one input, row after row.
func decode(r *inference.ModelInferRequest) ([]float32, error) {
	if len(r.GetInputs()) != 1 {
		return nil, status.Errorf(codes.InvalidArgument, "%d inputs: want one, %q", len(r.GetInputs()), InputName)
	}
	input := r.GetInputs()[0]
	if input.GetName() != InputName {
		return nil, status.Errorf(codes.InvalidArgument, "input %q: want %q", input.GetName(), InputName)
	}
	if input.GetDatatype() != "FP32" {
		return nil, status.Errorf(codes.InvalidArgument, "input %q: datatype %q, want FP32", InputName, input.GetDatatype())
	}
	shape := input.GetShape()
	if len(shape) != 2 || shape[0] < 1 || shape[1] != models.Features {
		return nil, status.Errorf(codes.InvalidArgument, "input %q: shape %v, want [n, %d] with n at least 1", InputName, shape, models.Features)
	}
	values := input.GetContents().GetFp32Contents()
	if raw := r.GetRawInputContents(); len(raw) > 0 {
		if len(raw) != 1 || input.GetContents() != nil || len(raw[0])%4 != 0 {
			return nil, status.Errorf(codes.InvalidArgument, "input %q: want one element of raw_input_contents, in whole FP32 values, and no contents", InputName)
		}
		values = floats(raw[0])
	}
	if rows, rest := len(values)/models.Features, len(values)%models.Features; rest != 0 || int64(rows) != shape[0] {
		return nil, status.Errorf(codes.InvalidArgument, "input %q: %d values do not fit shape %v", InputName, len(values), shape)
	}
	return values, nil
}

func floats(raw []byte) []float32 {
	values := make([]float32, 0, len(raw)/4)
	for bits := range slices.Chunk(raw, 4) {
		values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(bits)))
	}
	return values
}

// wantedOutputs returns the outputs that the request asks for: all if it names none.
func wantedOutputs(r *inference.ModelInferRequest) ([]string, error) {
	if len(r.GetOutputs()) == 0 {
		return []string{ProbabilityName, LabelName}, nil
	}
	var names []string
	for _, o := range r.GetOutputs() {
		if o.GetName() != ProbabilityName && o.GetName() != LabelName {
			return nil, status.Errorf(codes.InvalidArgument, "output %q: want %q or %q", o.GetName(), ProbabilityName, LabelName)
		}
		names = append(names, o.GetName())
	}
	return names, nil
}

func addOutput(answer *inference.ModelInferResponse, name string, probabilities []float32, raw bool) {
	tensor := &inference.ModelInferResponse_InferOutputTensor{Name: name, Datatype: "FP32", Shape: []int64{int64(len(probabilities))}}
	contents := &inference.InferTensorContents{Fp32Contents: probabilities}
	if name == LabelName {
		tensor.Datatype = "BYTES"
		contents = &inference.InferTensorContents{}
		for _, p := range probabilities {
			contents.BytesContents = append(contents.BytesContents, []byte(models.Label(p)))
		}
	}
	answer.Outputs = append(answer.Outputs, tensor)
	if !raw {
		tensor.Contents = contents
		return
	}
	var b []byte
	for _, v := range contents.GetFp32Contents() {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	for _, v := range contents.GetBytesContents() {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	answer.RawOutputContents = append(answer.RawOutputContents, b)
}

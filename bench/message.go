package main

import (
	"fmt"
	"math/rand/v2"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/oip/rawgrpc"
	"github.com/understudy-serving/understudy/proto/inference"
)

// answerSize is the size of every answer in bytes.
const answerSize = 200

// users is how many routing keys there are.
const users = 4096

// messages makes requests of one size that differ in their routing key. All share the
// tensor's bytes: the key is a message of its own in front, for protobuf merges what
// stands one after the other.
type messages struct {
	heads [users][]byte
	body  []byte
}

func newMessages(size int) *messages {
	m := &messages{}
	for i := range m.heads {
		m.heads[i] = marshal(&inference.ModelInferRequest{ModelName: modelName, Parameters: map[string]*inference.InferParameter{
			"user_id": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: fmt.Sprintf("user-%04d", i)}}}})
	}
	m.body = filled(size-len(m.heads[0]), func(raw []byte, padding string) proto.Message {
		return &inference.ModelInferRequest{Id: padding, RawInputContents: [][]byte{raw},
			Inputs: []*inference.ModelInferRequest_InferInputTensor{{Name: "features", Datatype: "FP32", Shape: []int64{1, int64(len(raw) / 4)}}}}
	})
	return m
}

// of returns the n-th request.
func (m *messages) of(n int) *mem.BufferSlice {
	return rawgrpc.Message(m.heads[n%users], m.body)
}

func newAnswer() []byte {
	return filled(answerSize, func(raw []byte, padding string) proto.Message {
		return &inference.ModelInferResponse{ModelName: modelName, ModelVersion: "1", Id: padding, RawOutputContents: [][]byte{raw},
			Outputs: []*inference.ModelInferResponse_InferOutputTensor{{Name: "probability", Datatype: "FP32", Shape: []int64{1, int64(len(raw) / 4)}}}}
	})
}

// filled marshals the message whose tensor, and an id for the rest, make it size bytes long.
func filled(size int, message func(raw []byte, padding string) proto.Message) []byte {
	chance := rand.New(rand.NewPCG(1, 2))
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(chance.Uint32()) >> 2 // small positive floats, no NaN among them
	}
	floats := size / 4
	for len(marshal(message(raw[:4*floats], "-"))) > size {
		floats--
	}
	padding := ""
	for len(marshal(message(raw[:4*floats], padding))) < size {
		padding += "-"
	}
	return marshal(message(raw[:4*floats], padding))
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // it is our own message
	}
	return b
}

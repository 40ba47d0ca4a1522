package modelserver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that ours stands on
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/proto/inference"
)

// Fault is what goes wrong with an inference. The zero Fault is Healthy. Faults touch
// ModelInfer alone, live and mirrored calls alike: a sick model in a process that
// still says it is ready.
type Fault struct {
	kind  faultKind
	code  codes.Code
	delay time.Duration
}

type faultKind uint8

const (
	healthy faultKind = iota
	failing
	hanging
	slow
	garbage
	truncated
)

// Healthy serves as it should.
func Healthy() Fault { return Fault{} }

// Errors answers at once with the code.
func Errors(code codes.Code) Fault { return Fault{kind: failing, code: code} }

// Hang takes the call and never answers; the call ends with its caller's patience or
// the server.
func Hang() Fault { return Fault{kind: hanging} }

// Slow answers correctly, but that much later.
func Slow(d time.Duration) Fault { return Fault{kind: slow, delay: d} }

// Garbage answers OK with bytes that are no protobuf message.
func Garbage() Fault { return Fault{kind: garbage} }

// Truncated answers OK with the right message without its last byte.
func Truncated() Fault { return Fault{kind: truncated} }

// Phase is one part of a script: the next Calls inferences meet Fault.
type Phase struct {
	Calls int
	Fault Fault
}

// SetFault puts the server under a fault, from the next inference on.
func (s *Server) SetFault(f Fault) { s.SetScript(Phase{Fault: f}) }

// SetScript puts the server under one phase after the other, from the next inference
// on, counted in inferences received. The last phase stays, whatever its Calls.
func (s *Server) SetScript(phases ...Phase) {
	s.script.mu.Lock()
	defer s.script.mu.Unlock()
	s.script.phases, s.script.used = phases, 0
}

// script is the faults to come.
type script struct {
	mu     sync.Mutex
	phases []Phase
	used   int
}

// next returns the fault of one more inference.
func (s *script) next() Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.phases) > 1 && s.used >= s.phases[0].Calls {
		s.phases, s.used = s.phases[1:], 0
	}
	if len(s.phases) == 0 {
		return Healthy()
	}
	s.used++
	return s.phases[0].Fault
}

// intercept journals each inference and lets its fault happen.
func (s *Server) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if info.FullMethod != inference.GRPCInferenceService_ModelInfer_FullMethodName {
		return handle(ctx, request)
	}
	n := s.journal.received(ctx)
	answer, err := s.script.next().happen(ctx, request, handle)
	s.journal.ended(n, status.Code(err))
	return answer, err
}

func (f Fault) happen(ctx context.Context, request any, handle grpc.UnaryHandler) (any, error) {
	switch f.kind {
	case failing:
		return nil, status.Error(f.code, "the demo's model server was told to fail")
	case hanging:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	case slow:
		if err := wait(ctx, f.delay); err != nil {
			return nil, err
		}
	case garbage:
		return wire{0xff, 0xff, 0xff, 0xff, 0xff}, nil
	case truncated:
		answer, err := handle(ctx, request)
		if err != nil {
			return nil, err
		}
		return cut{answer}, nil
	}
	return handle(ctx, request)
}

// wait is a sleep that the caller's end interrupts.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// wire is an answer that is bytes already; cut is an answer that loses its last byte,
// which always lies within a length-delimited field.
type (
	wire []byte
	cut  struct{ answer any }
)

// codec is protobuf's, but that it can also send what is none.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal encodes a message, a wire or a cut.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case wire:
		return mem.BufferSlice{mem.SliceBuffer(v)}, nil
	case cut:
		whole, err := c.CodecV2.Marshal(v.answer)
		if err != nil {
			return nil, err
		}
		defer whole.Free()
		b := whole.Materialize()
		return mem.BufferSlice{mem.SliceBuffer(b[:max(0, len(b)-1)])}, nil
	}
	return c.CodecV2.Marshal(v)
}

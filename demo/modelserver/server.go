// Package modelserver is a model server of the Open Inference Protocol for the demo
// and for tests: real gRPC, one real model, and faults that can be switched on while
// it serves. It counts what reaches it, so that a test need not believe the gateway.
package modelserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/understudy-serving/understudy/proto/inference"
)

// Model gives one probability for one row of models.Features values.
type Model interface {
	Score(row []float32) float32
}

// Options say what a server serves.
type Options struct {
	// Name and Version are the model's names here. A request may leave the version out.
	Name, Version string
	Model         Model
	// Prepare may change a row before the model scores it, in place; nil leaves it as it came.
	Prepare func(request *inference.ModelInferRequest, row []float32)
	// Addr is where to listen; empty means a free port on 127.0.0.1.
	Addr string
	// Delay gives the time that one inference takes; nil means 1 to 3 ms at random.
	Delay func() time.Duration
}

// Server is a running model server. Its methods may be called at any time by any
// goroutine.
type Server struct {
	inference.UnimplementedGRPCInferenceServiceServer

	options Options
	grpc    *grpc.Server
	addr    string
	script  script
	journal journal
	served  chan struct{}
}

// New starts a server; it takes calls when New returns. Close it.
func New(o Options) (*Server, error) {
	if o.Name == "" || o.Model == nil {
		return nil, errors.New("model server: want a Name and a Model")
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Delay == nil {
		o.Delay = func() time.Duration { return time.Millisecond + rand.N(2*time.Millisecond) }
	}
	if o.Prepare == nil {
		o.Prepare = func(*inference.ModelInferRequest, []float32) {}
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("model server %s: %w", o.Name, err)
	}
	s := &Server{options: o, addr: listener.Addr().String(), served: make(chan struct{})}
	s.grpc = grpc.NewServer(grpc.ForceServerCodecV2(newCodec()), grpc.UnaryInterceptor(s.intercept))
	inference.RegisterGRPCInferenceServiceServer(s.grpc, s)
	go func() {
		defer close(s.served)
		_ = s.grpc.Serve(listener) // ends with Close only: the listener is ours
	}()
	return s, nil
}

// Addr is the address that the server listens on, host and port. It stays the same
// after Close, so that Options.Addr can bring the server back where it was.
func (s *Server) Addr() string { return s.addr }

// Close stops the server as a dying process would: calls in flight end with
// UNAVAILABLE. It returns when all handlers have, and may be called twice.
func (s *Server) Close() {
	s.grpc.Stop()
	<-s.served
}

// ServerLive says that the process is up.
func (s *Server) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: true}, nil
}

// ServerReady says that the server takes inferences.
func (s *Server) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: true}, nil
}

// ServerMetadata names the server.
func (s *Server) ServerMetadata(context.Context, *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	return &inference.ServerMetadataResponse{Name: "understudy-demo-modelserver", Version: "1"}, nil
}

// ModelReady answers for the one model; any other is NOT_FOUND.
func (s *Server) ModelReady(_ context.Context, r *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	if err := s.knows(r.GetName(), r.GetVersion()); err != nil {
		return nil, err
	}
	return &inference.ModelReadyResponse{Ready: true}, nil
}

// ModelMetadata describes the one model; any other is NOT_FOUND.
func (s *Server) ModelMetadata(_ context.Context, r *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	if err := s.knows(r.GetName(), r.GetVersion()); err != nil {
		return nil, err
	}
	return s.metadata(), nil
}

func (s *Server) knows(name, version string) error {
	if name != s.options.Name || version != "" && version != s.options.Version {
		return status.Errorf(codes.NotFound, "model %q version %q: this server has %q version %q", name, version, s.options.Name, s.options.Version)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/understudy-serving/understudy/oip/rawgrpc"
	"github.com/understudy-serving/understudy/proto/inference"
)

// child is what this binary does as a process of its own, under the harness's eyes.
func child(verb string, args []string) error {
	switch verb {
	case "backend":
		return serveBackends(args)
	case "proxy":
		if len(args) == 2 {
			return serveProxy(args[0], args[1])
		}
	}
	return fmt.Errorf("no child process %s %q", verb, args)
}

// isChild tells a child's command line from the user's, which has flags only.
func isChild(args []string) bool { return len(args) > 1 && !strings.HasPrefix(args[0], "-") }

// serveBackends listens on each address=delay; a delay of 0s answers at once, "never" not at
// all, and 4ms/8 takes 4 ms for each of at most 8 requests at a time, as a model does.
func serveBackends(args []string) error {
	failed := make(chan error)
	for _, arg := range args {
		addr, text, _ := strings.Cut(arg, "=")
		wait, err := waiting(text)
		if err != nil {
			return err
		}
		lis, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go func() { failed <- newBackend(wait).Serve(lis) }()
	}
	return <-failed
}

// waiting reads a delay.
func waiting(text string) (wait func(context.Context), err error) {
	if text == "never" {
		return func(ctx context.Context) { <-ctx.Done() }, nil
	}
	text, most, limited := strings.Cut(text, "/")
	delay, err := time.ParseDuration(text)
	if err != nil || !limited {
		return func(ctx context.Context) { pause(ctx, delay) }, err
	}
	n, err := strconv.Atoi(most)
	places := make(chan struct{}, n)
	return func(ctx context.Context) {
		select {
		case places <- struct{}{}:
			pause(ctx, delay)
			<-places
		case <-ctx.Done():
		}
	}, err
}

// pause sleeps, unless ctx ends before or there is nothing to sleep.
func pause(ctx context.Context, d time.Duration) {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// newBackend is a model server that never looks at its requests.
func newBackend(wait func(context.Context)) *grpc.Server {
	answer := newAnswer()
	infer := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in mem.BufferSlice
		if err := decode(&in); err != nil {
			return nil, err
		}
		in.Free()
		wait(ctx)
		return rawgrpc.Message(answer), nil
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawgrpc.Codec{}), grpc.NumStreamWorkers(64), grpc.MaxRecvMsgSize(8<<20))
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: inference.GRPCInferenceService_ServiceDesc.ServiceName,
		Methods:     []grpc.MethodDesc{{MethodName: "ModelInfer", Handler: infer}},
	}, nil)
	return s
}

// proxy is what one writes in an afternoon: the generated server calls the generated
// client, so that each message is decoded and encoded again.
type proxy struct {
	inference.UnimplementedGRPCInferenceServiceServer
	to inference.GRPCInferenceServiceClient
}

func (p *proxy) ModelInfer(ctx context.Context, req *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	return p.to.ModelInfer(ctx, req)
}

func serveProxy(addr, target string) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return errors.Join(err, lis.Close())
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(8 << 20))
	inference.RegisterGRPCInferenceServiceServer(s, &proxy{to: inference.NewGRPCInferenceServiceClient(conn)})
	return s.Serve(lis)
}

package gateway

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
)

// serverName is what ServerMetadata says.
const serverName = "understudy"

// detailsKey is the trailer with the serialized google.rpc.Status.
const detailsKey = "grpc-status-details-bin"

// handler has the shape of all methods that are forwarded: bytes in, bytes and status
// out.
type handler func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply

// service is the inference service with bytes for messages.
func (g *Gateway) service() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: inference.GRPCInferenceService_ServiceDesc.ServiceName,
		Metadata:    inference.GRPCInferenceService_ServiceDesc.Metadata,
		Methods: []grpc.MethodDesc{
			g.forwarded("ModelInfer", g.infer),
			g.forwarded("ModelReady", g.modelReady),
			g.forwarded("ModelMetadata", g.modelMetadata),
			own("ServerLive", func() proto.Message { return &inference.ServerLiveResponse{Live: true} }),
			own("ServerReady", func() proto.Message { return &inference.ServerReadyResponse{Ready: g.Ready()} }),
			own("ServerMetadata", func() proto.Message {
				return &inference.ServerMetadataResponse{Name: serverName, Version: g.options.Version}
			}),
		},
	}
}

// forwarded adapts a handler to gRPC.
func (g *Gateway) forwarded(name string, serve handler) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (_ any, err error) {
		if !g.load.enter() {
			g.metrics.unrouted.inc(rollout.ResourceExhausted)
			return nil, errOverloaded
		}
		var in oip.Frame
		held := 0
		defer func() {
			in.Free()
			g.load.leave(held)
		}()
		if err := decode(&in); err != nil {
			return nil, err
		}
		held = in.Payload.Len()
		g.load.hold(held)
		defer func() {
			if p := recover(); p != nil {
				s := g.recovered(p, "")
				err = status.Error(codes.Code(s.Code), s.Message)
			}
		}()
		return send(ctx, serve(ctx, in.Payload, metadataOf(ctx)))
	}}
}

// send gives a reply to gRPC. Header and trailer that can't be sent have no reader any more.
func send(ctx context.Context, reply rollout.Reply) (any, error) {
	if len(reply.Header) > 0 {
		// Unlike SetHeader, this copies nothing; the header would go out now anyway.
		_ = grpc.SendHeader(ctx, metadata.MD(reply.Header))
	}
	trailer := reply.Trailer
	if len(reply.Status.Details) > 0 {
		if trailer == nil {
			trailer = make(rollout.Metadata, 1)
		}
		// As a trailer the bytes go through as they are; as a Status they would be written anew.
		trailer[detailsKey] = []string{string(reply.Status.Details)}
	}
	if len(trailer) > 0 {
		_ = grpc.SetTrailer(ctx, metadata.MD(trailer))
	}
	if reply.Status.Code != rollout.OK {
		return nil, status.Error(codes.Code(reply.Status.Code), reply.Status.Message)
	}
	return &oip.Frame{Payload: reply.Payload}, nil
}

// own makes a method that the gateway answers itself; its request has no fields.
func own(name string, answer func() proto.Message) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in oip.Frame
		defer in.Free()
		if err := decode(&in); err != nil {
			return nil, err
		}
		return answer(), nil
	}}
}

// unknown refuses the methods of the protocol's dialects, and all others.
func unknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	desc := inference.GRPCInferenceService_ServiceDesc
	names := make([]string, len(desc.Methods))
	for i, m := range desc.Methods {
		names[i] = m.MethodName
	}
	return status.Errorf(codes.Unimplemented, "method %s is not served by this gateway; of %s it serves %s",
		clip(method), desc.ServiceName, strings.Join(names, ", "))
}

package gateway

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/proto/inference"
	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/transport"
)

// serverName is what ServerMetadata says.
const serverName = "understudy"

// methods are those of the inference service, with bytes for messages.
func (g *Gateway) methods() map[string]transport.Method {
	return map[string]transport.Method{
		inference.GRPCInferenceService_ModelInfer_FullMethodName:    g.forwarded(g.infer),
		inference.GRPCInferenceService_ModelReady_FullMethodName:    g.forwarded(g.modelReady),
		inference.GRPCInferenceService_ModelMetadata_FullMethodName: g.forwarded(g.modelMetadata),
		inference.GRPCInferenceService_ServerLive_FullMethodName: own(func() proto.Message {
			return &inference.ServerLiveResponse{Live: true}
		}),
		inference.GRPCInferenceService_ServerReady_FullMethodName: own(func() proto.Message {
			return &inference.ServerReadyResponse{Ready: g.Ready()}
		}),
		inference.GRPCInferenceService_ServerMetadata_FullMethodName: own(func() proto.Message {
			return &inference.ServerMetadataResponse{Name: serverName, Version: g.options.Version}
		}),
	}
}

// handler has the shape of all methods that are forwarded: bytes in, bytes and status
// out.
type handler func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply

// forwarded counts a method's calls against what the gateway can hold.
func (g *Gateway) forwarded(serve handler) transport.Method {
	return transport.Method{
		Admit: func() rollout.Status {
			if g.load.enter() {
				return rollout.Status{}
			}
			g.metrics.unrouted.inc(rollout.ResourceExhausted)
			return overloaded
		},
		Handle: func(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
			g.load.hold(req.Len())
			defer g.load.hold(-req.Len())
			return serve(ctx, req, md)
		},
		Leave: g.load.leave,
	}
}

// own makes a method that the gateway answers itself; its request has no fields.
func own(answer func() proto.Message) transport.Method {
	return transport.Method{Handle: func(context.Context, *rollout.Payload, rollout.Metadata) rollout.Reply {
		return replyOf(answer())
	}}
}

// replyOf is a message of ours as a reply.
func replyOf(m proto.Message) rollout.Reply {
	b, err := proto.Marshal(m)
	if err != nil {
		return rollout.Reply{Status: rollout.Status{Code: rollout.Internal, Message: err.Error()}}
	}
	return rollout.Reply{Payload: rollout.NewPayload([][]byte{b}, nil)}
}

// unknown refuses the methods of the protocol's dialects, and all others.
func unknown(method string) rollout.Status {
	desc := inference.GRPCInferenceService_ServiceDesc
	names := make([]string, len(desc.Methods))
	for i, m := range desc.Methods {
		names[i] = m.MethodName
	}
	return rollout.Status{Code: rollout.Unimplemented, Message: "method " + clip(method) + " is not served by this gateway; of " +
		desc.ServiceName + " it serves " + strings.Join(names, ", ")}
}

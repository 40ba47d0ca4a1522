package gateway

import (
	"context"
	"fmt"

	"github.com/understudy-serving/understudy/oip"
	"github.com/understudy-serving/understudy/rollout"
)

// modelReady and modelMetadata ask the arm that answers clients outside the split; for
// ownership see infer.
func (g *Gateway) modelReady(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	reply, _ := g.askModel(ctx, oip.MethodModelReady, req, md)
	return reply
}

func (g *Gateway) modelMetadata(ctx context.Context, req *rollout.Payload, md rollout.Metadata) rollout.Reply {
	reply, name := g.askModel(ctx, oip.MethodModelMetadata, req, md)
	if reply.Payload == nil {
		return reply
	}
	defer reply.Payload.Free()
	renamed, err := oip.RenameMetadata(reply.Payload, name)
	if err != nil {
		reply.Status = rollout.Status{Code: rollout.Internal,
			Message: fmt.Sprintf("the answer of model %q is not a well-formed ModelMetadataResponse", name)}
	}
	reply.Payload = renamed
	return reply
}

// askModel puts the question to the arm and returns its reply and the public name.
func (g *Gateway) askModel(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) (rollout.Reply, string) {
	m, err := oip.PeekModel(req)
	if err == nil {
		err = forward(md)
	}
	if err != nil {
		return rollout.Reply{Status: rollout.Status{Code: rollout.InvalidArgument, Message: err.Error()}}, ""
	}
	r, refused := g.table.Load().find(m.Name, m.Version)
	if refused.Code != rollout.OK {
		return rollout.Reply{Status: refused}, ""
	}
	arm := r.arm(r.answering)
	request := m.WithNames(arm.Spec.Model, arm.Spec.Version)
	defer request.Free()
	return arm.Upstream.Call(ctx, method, request, md), r.Model
}

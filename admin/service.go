package admin

import (
	"context"
	"strings"
	"unicode/utf8"

	"connectrpc.com/connect"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// service is the RPC's implementation.
type service struct{ *Server }

// change is an operator's wish, as read from a request.
type change struct {
	model string
	event rollout.Event
	// expected is nil for a rollback, which asks for no revision.
	expected *uint64
	// invalid is what is wrong with the arguments, beside model, reason and revision.
	invalid error
}

// ListRollouts implements the RPC.
func (s service) ListRollouts(context.Context, *adminv1.ListRolloutsRequest) (*adminv1.ListRolloutsResponse, error) {
	res := &adminv1.ListRolloutsResponse{}
	for _, v := range s.opts.Rollouts.List() {
		res.Rollouts = append(res.Rollouts, toProto(v))
	}
	return res, nil
}

// GetRollout implements the RPC.
func (s service) GetRollout(_ context.Context, r *adminv1.GetRolloutRequest) (*adminv1.GetRolloutResponse, error) {
	v, err := s.get(r.Model)
	if err != nil {
		return nil, rpcError(err)
	}
	return &adminv1.GetRolloutResponse{Rollout: toProto(v)}, nil
}

func (s service) get(model string) (rollout.View, error) {
	if model == "" {
		return rollout.View{}, badArgument("model", "is empty; name one, as ListRollouts does")
	}
	v, err := s.opts.Rollouts.Get(model)
	if err != nil {
		return rollout.View{}, s.detailed(model, nil, err)
	}
	return v, nil
}

// Explain implements the RPC.
func (s service) Explain(_ context.Context, r *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
	v, err := s.get(r.Model)
	if err != nil {
		return nil, rpcError(err)
	}
	return &adminv1.ExplainResponse{Rollout: toProto(v), Judgement: judgementToProto(v.Figures.Judgement)}, nil
}

// SetMode implements the RPC.
func (s service) SetMode(ctx context.Context, r *adminv1.SetModeRequest) (*adminv1.SetModeResponse, error) {
	mode, weight, err := settable(r.Mode, r.WeightPercent)
	e := rollout.Event{Kind: rollout.EventSetMode, Reason: r.Reason, Mode: mode, Weight: weight}
	after, err := s.change(ctx, change{r.Model, e, &r.ExpectedRevision, err})
	return &adminv1.SetModeResponse{Rollout: after}, err
}

func settable(m adminv1.Mode, percent float64) (rollout.Mode, rollout.Weight, error) {
	mode := modeFromProto(m)
	switch mode {
	case rollout.ModeChampion, rollout.ModeShadow:
		if percent != 0 {
			return mode, 0, badArgument("weight_percent", "%v with %s; only MODE_CANARY has a weight", percent, m)
		}
		return mode, 0, nil
	case rollout.ModeCanary:
		weight, err := rollout.WeightFromPercent(percent)
		if err != nil {
			return mode, 0, badArgument("weight_percent", "%v", err)
		}
		return mode, weight, nil
	}
	return mode, 0, badArgument("mode", "%s can't be set; want MODE_CHAMPION, MODE_SHADOW or MODE_CANARY", m)
}

// Promote implements the RPC.
func (s service) Promote(ctx context.Context, r *adminv1.PromoteRequest) (*adminv1.PromoteResponse, error) {
	e := rollout.Event{Kind: rollout.EventPromote, Reason: r.Reason, Full: r.Full}
	after, err := s.change(ctx, change{r.Model, e, &r.ExpectedRevision, nil})
	return &adminv1.PromoteResponse{Rollout: after}, err
}

// Rollback implements the RPC.
func (s service) Rollback(ctx context.Context, r *adminv1.RollbackRequest) (*adminv1.RollbackResponse, error) {
	e := rollout.Event{Kind: rollout.EventRollback, Reason: r.Reason}
	after, err := s.change(ctx, change{r.Model, e, nil, nil})
	return &adminv1.RollbackResponse{Rollout: after}, err
}

// Pause implements the RPC.
func (s service) Pause(ctx context.Context, r *adminv1.PauseRequest) (*adminv1.PauseResponse, error) {
	e := rollout.Event{Kind: rollout.EventPause, Reason: r.Reason}
	after, err := s.change(ctx, change{r.Model, e, &r.ExpectedRevision, nil})
	return &adminv1.PauseResponse{Rollout: after}, err
}

// Resume implements the RPC.
func (s service) Resume(ctx context.Context, r *adminv1.ResumeRequest) (*adminv1.ResumeResponse, error) {
	e := rollout.Event{Kind: rollout.EventResume, Reason: r.Reason}
	after, err := s.change(ctx, change{r.Model, e, &r.ExpectedRevision, nil})
	return &adminv1.ResumeResponse{Rollout: after}, err
}

// Retry implements the RPC.
func (s service) Retry(ctx context.Context, r *adminv1.RetryRequest) (*adminv1.RetryResponse, error) {
	e := rollout.Event{Kind: rollout.EventRetry, Reason: r.Reason}
	after, err := s.change(ctx, change{r.Model, e, &r.ExpectedRevision, nil})
	return &adminv1.RetryResponse{Rollout: after}, err
}

// change applies an operator's wish, or refuses it and says so in the audit log.
func (s service) change(ctx context.Context, c change) (*adminv1.Rollout, error) {
	who := callerOf(ctx)
	c.event.Actor, c.event.Remote = who.name, who.remote
	c.event.Reason = strings.TrimSpace(c.event.Reason)
	v, err := s.apply(ctx, c)
	if err != nil {
		s.refused(who, c, err)
		return nil, rpcError(err)
	}
	return toProto(v), nil
}

func (s service) apply(ctx context.Context, c change) (rollout.View, error) {
	if err := c.validate(); err != nil {
		return rollout.View{}, err
	}
	if c.expected == nil {
		ctx = context.WithoutCancel(ctx) // an operator who hangs up still wants the rollback
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	v, err := s.opts.Rollouts.Apply(ctx, c.model, c.event, c.expected)
	if err != nil {
		return rollout.View{}, s.detailed(c.model, c.expected, err)
	}
	return v, nil
}

func (c change) validate() error {
	reason := utf8.RuneCountInString(c.event.Reason)
	switch {
	case c.model == "":
		return badArgument("model", "is empty; name one, as ListRollouts does")
	case c.invalid != nil:
		return c.invalid
	case reason == 0:
		return badArgument("reason", "is empty; say why, for the history and the audit log")
	case reason > maxReason:
		return badArgument("reason", "has %d characters; at most %d", reason, maxReason)
	case c.expected != nil && *c.expected == 0:
		return badArgument("expected_revision", "is missing; send the revision that GetRollout shows, so that a change in between is noticed")
	}
	return nil
}

// asked says in words what the event wanted beside its name.
func (c change) asked() string {
	switch {
	case c.event.Kind == rollout.EventSetMode && c.event.Mode == rollout.ModeCanary:
		return "canary " + c.event.Weight.String()
	case c.event.Kind == rollout.EventSetMode && c.event.Mode != 0:
		return c.event.Mode.String()
	case c.event.Full:
		return "full"
	}
	return ""
}

// refused counts a refusal and writes it to the audit log. Reads leave traces only
// where the caller was not let in.
func (s *Server) refused(who caller, c change, err error) {
	code := codeOf(err)
	s.metrics.refused.WithLabelValues(codeName(code)).Inc()
	limit := s.known
	if who.role == 0 {
		limit = s.unknown
	}
	suppressed, ok := limit.take(s.opts.Now())
	if !ok {
		return
	}
	entry := Entry{Actor: who.name, Remote: who.remote, Event: string(c.event.Kind), Model: c.model, Reason: c.event.Reason,
		Asked: c.asked(), Outcome: Refused, Refusal: err.Error(), Code: codeName(code), Suppressed: suppressed}
	if v, err := s.opts.Rollouts.Get(c.model); c.model != "" && err == nil {
		entry.Before, entry.Evidence = standing(v.State), evidenceOf(v.Figures)
	}
	if err := s.opts.Audit.Write(entry); err != nil {
		s.opts.Logger.Error("a refusal is missing in the audit log; check the file's disk and permissions", "error", err)
	}
}

// codeName returns a code's name as gRPC's documentation writes it.
func codeName(c connect.Code) string { return rollout.Code(c).String() }

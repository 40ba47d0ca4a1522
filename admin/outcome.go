package admin

import (
	"context"

	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
)

// Outcomes takes what came of predictions: the desk of outcomes.
type Outcomes interface {
	// Report returns once the report is on disk. Errors wrap rollout.ErrMalformed,
	// ErrForged, ErrUnknownOutcome, whose text begins with the field, or ErrUnavailable.
	Report(ctx context.Context, r rollout.Report) (rollout.ReportResult, error)
}

// outcomes is the RPC's implementation for reporters. There are too many reports for the
// audit log; what became of them is in the metrics.
type outcomes struct{ *Server }

// ReportOutcome implements the RPC.
func (o outcomes) ReportOutcome(ctx context.Context, r *adminv1.ReportOutcomeRequest) (*adminv1.ReportOutcomeResponse, error) {
	if o.opts.Outcomes == nil {
		return nil, rpcError(errNoOutcomes)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	result, err := o.opts.Outcomes.Report(ctx, rollout.Report{Ticket: r.GetTicket(), ID: r.GetId(), Name: r.Name, Value: r.Value})
	if err != nil {
		return nil, rpcError(err)
	}
	return &adminv1.ReportOutcomeResponse{Result: resultToProto(result)}, nil
}

func resultToProto(r rollout.ReportResult) adminv1.OutcomeResult {
	switch r {
	case rollout.Accepted:
		return adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED
	case rollout.Duplicate:
		return adminv1.OutcomeResult_OUTCOME_RESULT_DUPLICATE
	case rollout.Expired:
		return adminv1.OutcomeResult_OUTCOME_RESULT_EXPIRED
	case rollout.Unmatched:
		return adminv1.OutcomeResult_OUTCOME_RESULT_UNMATCHED
	}
	return adminv1.OutcomeResult_OUTCOME_RESULT_UNSPECIFIED
}

package main

import (
	"context"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func pauseCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause MODEL",
		Short: "Hold the plan; traffic stays as it is",
		Long: `Hold the plan where it is. The challenger goes on getting the traffic that it gets now,
and the breaker still rolls it back if it fails; only the next step does not come before
"understudy resume". The time of a pause does not count for the step.`,
		Example: `  understudy pause fraud --reason "marketing campaign until Monday"`,
		Args:    exactly(1, "MODEL"),
	}
	return changeVerb{cmd: cmd, call: func(ctx context.Context, g *gateway, w wish, _ []string) (*adminv1.Rollout, error) {
		res, err := g.Pause(ctx, &adminv1.PauseRequest{Model: w.model, ExpectedRevision: w.expected, Reason: w.reason})
		return res.GetRollout(), err
	}}.command(conn)
}

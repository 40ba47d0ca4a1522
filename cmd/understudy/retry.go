package main

import (
	"context"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func retryCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry MODEL",
		Short: "Start a rolled-back rollout anew at its first step",
		Long: `Start a rolled-back rollout anew: first step of the plan that the config file has now, a
new breaker, evidence from zero. It is the only way back for the same challenger; nothing
brings it back by itself.`,
		Example: `  understudy retry fraud --reason "server had run out of memory, has twice as much now"`,
		Args:    exactly(1, "MODEL"),
	}
	return changeVerb{cmd: cmd, call: func(ctx context.Context, g *gateway, w wish, _ []string) (*adminv1.Rollout, error) {
		res, err := g.Retry(ctx, &adminv1.RetryRequest{Model: w.model, ExpectedRevision: w.expected, Reason: w.reason})
		return res.GetRollout(), err
	}}.command(conn)
}

package main

import (
	"context"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func promoteCommand(conn *connection) *cobra.Command {
	full := false
	cmd := &cobra.Command{
		Use:   "promote MODEL",
		Short: "End the current step and go on, or with --full promote at once",
		Long: `End the current step, whatever it still waits for, and enter the next one; behind the
last step the challenger is promoted and answers everything.

With --full the rest of the plan is skipped. A promoted challenger has no fallback and no
automatic rollback; "understudy rollback" still takes it back.`,
		Example: `  understudy promote fraud --reason "night traffic is thin, the data will do"
  understudy promote fraud --full --reason "released by hand, ticket OPS-12"`,
		Args: exactly(1, "MODEL"),
	}
	cmd.Flags().BoolVar(&full, "full", false, "skip the rest of the plan")
	return changeVerb{cmd: cmd, call: func(ctx context.Context, g *gateway, w wish, _ []string) (*adminv1.Rollout, error) {
		res, err := g.Promote(ctx, &adminv1.PromoteRequest{Model: w.model, Full: full, ExpectedRevision: w.expected, Reason: w.reason})
		return res.GetRollout(), err
	}}.command(conn)
}

package main

import (
	"context"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func rollbackCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollback MODEL",
		Short: "Take the challenger off the traffic, at once and for good",
		Long: `Take the challenger off the traffic at once: no request reaches it any more, live or
mirrored, also after a restart, until someone says "understudy retry" or the config file
names another challenger. A promoted challenger is taken back the same way.

It works in every mode and needs no revision, so that nothing is in the way when it hurries.`,
		Example: `  understudy rollback fraud
  understudy rollback fraud --reason "scores drift for new customers"`,
		Args: exactly(1, "MODEL"),
	}
	return changeVerb{cmd: cmd, reason: "rolled back by operator", anyRevision: true,
		call: func(ctx context.Context, g *gateway, w wish, _ []string) (*adminv1.Rollout, error) {
			res, err := g.Rollback(ctx, &adminv1.RollbackRequest{Model: w.model, Reason: w.reason})
			return res.GetRollout(), err
		}}.command(conn)
}

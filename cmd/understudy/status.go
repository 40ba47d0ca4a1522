package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func statusCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [MODEL]",
		Short: "Show all rollouts in a table, or one in detail",
		Long: `Show every model's rollout in a table; with MODEL, one in detail: mode, weight, step and
what it waits for, requests, failures and latency of both arms, disagreement, breaker,
the gates in short, the last changes, and warnings. "understudy explain MODEL" has all
that the gates know.

The figures are this gateway's own, since the rollout began or the process started.`,
		Example: `  understudy status
  understudy status fraud
  understudy status fraud -o json | jq -r .mode`,
		Args: atMostOne,
	}
	cmd.ValidArgsFunction = conn.models
	out := bindFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return conn.call(cmd.Context(), func(ctx context.Context, g *gateway) error {
			if len(args) == 1 {
				return showOne(ctx, cmd, g, args[0], *out)
			}
			return showAll(ctx, cmd, g, *out)
		})
	}
	return cmd
}

func showOne(ctx context.Context, cmd *cobra.Command, g *gateway, model string, out format) error {
	res, err := g.GetRollout(ctx, &adminv1.GetRolloutRequest{Model: model})
	if err != nil {
		return err
	}
	if out == formatJSON {
		return printJSON(cmd.OutOrStdout(), res.Rollout)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), clean(details(res.Rollout, rates{})))
	return err
}

func showAll(ctx context.Context, cmd *cobra.Command, g *gateway, out format) error {
	res, err := g.ListRollouts(ctx, &adminv1.ListRolloutsRequest{})
	if err != nil {
		return err
	}
	if out == formatJSON {
		return printJSON(cmd.OutOrStdout(), res)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), clean(overview(res.Rollouts)))
	return err
}

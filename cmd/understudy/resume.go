package main

import (
	"context"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func resumeCommand(conn *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume MODEL",
		Short: "Go on with a paused plan",
		Long: `Go on with the plan: from a pause where it was, from "pause: {}" in the plan to the next
step, and after "understudy set-mode" at the last step that does not expose the challenger
more than that mode and weight, with time and counts from zero.`,
		Example: `  understudy resume fraud --reason "campaign is over"`,
		Args:    exactly(1, "MODEL"),
	}
	return changeVerb{cmd: cmd, call: func(ctx context.Context, g *gateway, w wish, _ []string) (*adminv1.Rollout, error) {
		res, err := g.Resume(ctx, &adminv1.ResumeRequest{Model: w.model, ExpectedRevision: w.expected, Reason: w.reason})
		return res.GetRollout(), err
	}}.command(conn)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func setModeCommand(conn *connection) *cobra.Command {
	weight := ""
	cmd := &cobra.Command{
		Use:   "set-mode MODEL champion|shadow|canary",
		Short: "Set mode and weight by hand; pauses the plan",
		Long: `Set by hand what part the challenger plays, at once, and pause the plan:

  champion  none: no copies, no live traffic
  shadow    it gets copies; the champion answers
  canary    it answers --weight percent of the traffic

"understudy resume" goes on with the plan at the last step not above that mode and weight.`,
		Example: `  understudy set-mode fraud canary --weight 12.5 --reason "look at a larger share"
  understudy set-mode fraud champion --reason "benchmark without copies"`,
		Args: exactly(2, "MODEL and a mode"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"champion", "shadow", "canary"}, cobra.ShellCompDirectiveNoFileComp
			}
			return conn.models(cmd, args, word)
		},
	}
	cmd.Flags().StringVarP(&weight, "weight", "w", "", "the challenger's share in `percent`, 0 to 100 with at most two decimals; required with canary")
	return changeVerb{cmd: cmd,
		check: func(args []string) error {
			_, _, err := settable(args[0], weight)
			return err
		},
		call: func(ctx context.Context, g *gateway, w wish, args []string) (*adminv1.Rollout, error) {
			mode, percent, err := settable(args[0], weight)
			if err != nil {
				return nil, err
			}
			res, err := g.SetMode(ctx, &adminv1.SetModeRequest{Model: w.model, Mode: mode, WeightPercent: percent, ExpectedRevision: w.expected, Reason: w.reason})
			return res.GetRollout(), err
		}}.command(conn)
}

// settable reads mode and weight, which goes with canary only.
func settable(name, weight string) (adminv1.Mode, float64, error) {
	mode := map[string]adminv1.Mode{"champion": adminv1.Mode_MODE_CHAMPION, "shadow": adminv1.Mode_MODE_SHADOW, "canary": adminv1.Mode_MODE_CANARY}[name]
	switch {
	case mode == adminv1.Mode_MODE_UNSPECIFIED:
		return 0, 0, fmt.Errorf("mode %q: want champion, shadow or canary", name)
	case mode != adminv1.Mode_MODE_CANARY && weight != "":
		return 0, 0, fmt.Errorf("--weight goes with canary only, not with %s", name)
	case mode != adminv1.Mode_MODE_CANARY:
		return mode, 0, nil
	case weight == "":
		return 0, 0, errors.New("canary needs --weight, the challenger's share in percent")
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(weight, "%"), 64)
	if err != nil || math.IsNaN(percent) || percent < 0 || percent > 100 {
		return 0, 0, fmt.Errorf("--weight %q: want a percentage from 0 to 100, such as 5 or 12.5", weight)
	}
	return mode, percent, nil
}

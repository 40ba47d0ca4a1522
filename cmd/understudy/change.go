package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// wish is what every change tells the gateway.
type wish struct {
	model, reason string
	// expected is the revision that the change is for.
	expected uint64
}

// changeVerb builds the command of one change.
type changeVerb struct {
	cmd *cobra.Command
	// call sends the change. args are those of the command line behind the model.
	call func(ctx context.Context, g *gateway, w wish, args []string) (*adminv1.Rollout, error)
	// check refuses arguments before anything is sent; may be nil.
	check func(args []string) error
	// reason is used where none is given; empty: one must be given.
	reason string
	// anyRevision is for the change that asks for no revision.
	anyRevision bool
}

const revisionHelp = `
The change is made only if nobody else changed the rollout in between: by default since
the moment before, with --expected-revision since you looked at that revision.`

// command adds flags and Run to v.cmd.
func (v changeVerb) command(conn *connection) *cobra.Command {
	w := wish{}
	out := bindFormat(v.cmd)
	flags := v.cmd.Flags()
	why := "why, for the history and the audit log; required"
	if v.reason != "" {
		why = "why, for the history and the audit log"
	}
	flags.StringVarP(&w.reason, "reason", "r", v.reason, why)
	if !v.anyRevision {
		flags.Uint64Var(&w.expected, "expected-revision", 0, "`revision` that the change is for, as status shows it (default the current one)")
		v.cmd.Long += "\n" + revisionHelp
	}
	if v.cmd.ValidArgsFunction == nil {
		v.cmd.ValidArgsFunction = conn.models
	}
	v.cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w.model = args[0]
		if w.reason == "" {
			return errors.New("--reason is missing: say why, for the history and the audit log")
		}
		if v.check != nil {
			if err := v.check(args[1:]); err != nil {
				return err
			}
		}
		return conn.call(cmd.Context(), func(ctx context.Context, g *gateway) error {
			return v.run(ctx, cmd, g, w, args[1:], *out)
		})
	}
	return v.cmd
}

func (v changeVerb) run(ctx context.Context, cmd *cobra.Command, g *gateway, w wish, args []string, out format) error {
	if !v.anyRevision && w.expected == 0 {
		now, err := g.GetRollout(ctx, &adminv1.GetRolloutRequest{Model: w.model})
		if err != nil {
			return err
		}
		w.expected = now.Rollout.GetRevision()
		cmd.PrintErrln(clean(fmt.Sprintf("%s is at revision %d: %s", w.model, w.expected, standing(now.Rollout))))
	}
	after, err := v.call(ctx, g, w, args)
	if err != nil {
		return err
	}
	if out == formatJSON {
		return printJSON(cmd.OutOrStdout(), after)
	}
	text := fmt.Sprintf("%s is now at revision %d: %s\n", after.Model, after.Revision, standing(after))
	if after.WaitingFor != "" {
		text += "waits for " + after.WaitingFor + "\n"
	}
	for _, warning := range after.Warnings {
		text += "warning: " + warning + "\n"
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), clean(text))
	return err
}

// exactly is cobra.ExactArgs with the names of what is missing.
func exactly(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("want %s, got %d (%q); see `%s --help`", names, len(args), args, cmd.CommandPath())
		}
		return nil
	}
}

// atMostOne is cobra.MaximumNArgs(1) that says what it wants.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return exactly(1, "one MODEL or none")(cmd, args)
	}
	return nil
}

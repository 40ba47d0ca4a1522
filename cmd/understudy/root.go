package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// The groups of commands, in the order of a newcomer's way.
const (
	groupTry    = "try"
	groupRun    = "run"
	groupLook   = "look"
	groupChange = "change"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "understudy",
		Short: "Rehearse a model on live traffic, promote it step by step, pull it back when it fails",
		Long: `Understudy is a gateway for model servers that speak the Open Inference Protocol.
The champion answers; the challenger rehearses on copies of the same requests (shadow),
then serves a growing share of them (canary), and is promoted, or rolled back at its
first failures, which users do not see.

Start here:
  understudy demo                            watch it all happen in a minute; needs nothing else
  understudy check --config understudy.yaml  see what a config file of your own means
  understudy serve --config understudy.yaml  put the gateway in front of your model servers

While it runs, "understudy watch" shows the rollouts live, and "understudy rollback MODEL"
takes a challenger off the traffic at once.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupTry, Title: "Try it:"},
		&cobra.Group{ID: groupRun, Title: "Run a gateway:"},
		&cobra.Group{ID: groupLook, Title: "Look at rollouts:"},
		&cobra.Group{ID: groupChange, Title: "Change a rollout:"},
	)
	conn := &connection{}
	conn.bind(root.PersistentFlags())
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupTry, demoCommand(), simulateCommand())
	add(groupRun, checkCommand(), serveCommand(), spoolCommand(), outcomeCommand(conn))
	add(groupLook, statusCommand(conn), watchCommand(conn), explainCommand(conn), reportCommand())
	add(groupChange, setModeCommand(conn), promoteCommand(conn), pauseCommand(conn),
		resumeCommand(conn), rollbackCommand(conn), retryCommand(conn))
	root.AddCommand(versionCommand())
	return root
}

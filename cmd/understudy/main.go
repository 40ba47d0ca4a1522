// Command understudy is the gateway and its operators' tool. One file holds one verb.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Exit codes. Scripts tell a broken file from a gateway that can't run.
const (
	exitOK      = 0
	exitFailed  = 1
	exitInvalid = 2 // the config file is invalid
)

// exitError is an error with an exit code of its own. said means that the command has
// told the user already.
type exitError struct {
	code int
	err  error
	said bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code, said := exitFailed, false
	var exit *exitError
	if errors.As(err, &exit) {
		code, said = exit.code, exit.said
	}
	if !said {
		fmt.Fprintln(stderr, "understudy:", clean(err.Error()))
	}
	return code
}

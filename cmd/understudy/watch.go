package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

func watchCommand(conn *connection) *cobra.Command {
	interval := time.Second
	cmd := &cobra.Command{
		Use:   "watch [MODEL]",
		Short: "Watch rollouts live",
		Long: `Watch every rollout, or MODEL's, as it goes: mode and weight, requests and rate of both
arms, failures, disagreement, latency, gates, the time left in the step, and the last
changes.

On a terminal the view is redrawn in place, else there is a line for each message; with
-o json one JSON object a line. A gateway that goes away is waited for. Ctrl-C ends it.`,
		Example: `  understudy watch
  understudy watch fraud --interval 5s
  understudy watch fraud -o json | jq -c '[.mode, .weightPercent, .mirrorFigures.disagreed]'`,
		Args: atMostOne,
	}
	cmd.ValidArgsFunction = conn.models
	out := bindFormat(cmd)
	cmd.Flags().DurationVar(&interval, "interval", interval, "time between two messages where nothing changes, at least 100ms")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := conn.open()
		if err != nil {
			return err
		}
		defer g.close()
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		w := watcher{gateway: g, request: &adminv1.WatchRolloutsRequest{Interval: durationpb.New(interval)}, patience: time.Second}
		if len(args) == 1 {
			w.request.Model = args[0]
		}
		w.view = newView(cmd.OutOrStdout(), cmd.ErrOrStderr(), *out)
		defer w.view.end()
		return w.run(ctx)
	}
	return cmd
}

// newView chooses how a watch is shown on out.
func newView(out, notices io.Writer, f format) view {
	switch {
	case f == formatJSON:
		return &jsonLines{out, notices}
	case isTerminal(out):
		return newScreen(out)
	}
	return &plainLines{out: out, notices: notices, meters: map[string]*meter{}}
}

// view shows a watch.
type view interface {
	show(*adminv1.Rollout, time.Time) error
	// notice says what is the matter with the connection.
	notice(text string)
	end()
}

// watcher follows a gateway through its restarts.
type watcher struct {
	*gateway
	request  *adminv1.WatchRolloutsRequest
	view     view
	patience time.Duration
}

// run returns nil when ctx ends. A first call that fails is an error: the address is
// probably wrong.
func (w *watcher) run(ctx context.Context) error {
	connected := false
	for {
		received, err := w.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		connected = connected || received
		var local *outputError
		if errors.As(err, &local) {
			return local.err
		}
		if !connected || !passing(err) {
			return w.wording(err)
		}
		w.view.notice(fmt.Sprintf("lost the gateway at %s, trying again: %v", w.url, err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.patience):
		}
	}
}

// follow shows one stream's messages until it ends, and tells whether there were any.
func (w *watcher) follow(ctx context.Context) (received bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.WatchRollouts(ctx, w.request)
	if err != nil {
		return false, err
	}
	defer func() { _ = stream.Close() }() // it has ended, or nobody wants it any more
	for stream.Receive() {
		received = true
		if err := w.view.show(stream.Msg().GetRollout(), time.Now()); err != nil {
			return true, &outputError{err}
		}
	}
	if err := stream.Err(); err != nil {
		return received, err
	}
	return received, connect.NewError(connect.CodeUnavailable, io.ErrUnexpectedEOF)
}

// outputError is what this side's output refused.
type outputError struct{ err error }

func (e *outputError) Error() string { return e.err.Error() }

// passing tells whether calling again may help.
func passing(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeNotFound,
		connect.CodeInvalidArgument, connect.CodeUnimplemented:
		return false
	}
	return true
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/spool"
)

func spoolDrainCommand() *cobra.Command {
	path := ""
	cmd := &cobra.Command{
		Use:   "drain --config FILE",
		Short: "Deliver what a gateway left in its spool",
		Long: `Deliver all that waits in the spool to Kafka, as the gateway would, and end. The gateway
must not run: one process owns the folder. Ctrl-C ends it early; what is left stays in the
spool.

The exit code is 0 if nothing is left and nothing was lost.`,
		Example: `  understudy spool drain --config understudy.yaml`,
		Args:    exactly(0, "no arguments"),
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "config `file`; required")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(path)
		if err != nil {
			return err
		}
		logger, err := newLogger(cmd.ErrOrStderr(), "warn", "text")
		if err != nil {
			return err
		}
		if cfg.Sink != nil && cfg.Sink.Spool != nil {
			if _, err := (&spoolFolder{dir: cfg.Sink.Spool.Dir}).find(); err != nil {
				return err // a spool must not be made in order to be emptied
			}
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		began := time.Now()
		got, err := app.DrainSpool(ctx, cfg, logger, progress(cmd.ErrOrStderr(), began))
		if errors.Is(err, spool.ErrLocked) {
			return fmt.Errorf("%w; a gateway that runs delivers its records by itself", err)
		}
		if err != nil {
			return err
		}
		return concludeDrain(cmd.OutOrStdout(), got, time.Since(began))
	}
	return cmd
}

// progress writes a line a second: what is done, how fast, and how long it will take.
func progress(w io.Writer, began time.Time) func(app.Drained) {
	last, at := int64(0), began
	return func(d app.Drained) {
		now := time.Now()
		rate := float64(d.Delivered-last) / now.Sub(at).Seconds()
		last, at = d.Delivered, now
		left := "Kafka takes none at the moment"
		if rate > 0 {
			left = span(time.Duration(float64(d.Left)/rate*float64(time.Second))) + " left"
		}
		fmt.Fprintf(w, "%s of %s delivered, %s a second, %s\n", count(d.Delivered), count(d.Found), count(int64(rate)), left)
	}
}

// concludeDrain says how it ended. What is not on the topic is an error.
func concludeDrain(w io.Writer, d app.Drained, took time.Duration) error {
	_, err := fmt.Fprintf(w, "%s of %s %s delivered in %s\n", count(d.Delivered), count(d.Found),
		plural(int(d.Found), "record"), latency(took))
	if err != nil {
		return err
	}
	var lost []string
	for why, n := range d.Dropped {
		if n > 0 {
			lost = append(lost, fmt.Sprintf("%s %s", count(n), why))
		}
	}
	slices.Sort(lost)
	switch {
	case len(lost) > 0:
		return fmt.Errorf("not delivered: %s; see the messages above", strings.Join(lost, ", "))
	case d.Left > 0:
		return fmt.Errorf("interrupted: %s %s left in the spool", count(d.Left), plural(int(d.Left), "record"))
	}
	return nil
}

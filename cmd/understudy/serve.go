package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
)

func serveCommand() *cobra.Command {
	path, level, encoding := "", "info", "text"
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the gateway",
		Long: `Run the gateway that the config file describes, until SIGTERM or Ctrl-C: then no new
call is taken, calls under way are finished, records are flushed, and it exits. A second
signal exits at once.

SIGHUP reads the file again. A file that is not valid is logged and changes nothing.

The garbage collector rests while the heap is small, and memory stays within 90% of the
container's; GOGC and GOMEMLIMIT in the environment have the last word.

Logs go to standard error. The exit code is 2 for an invalid config file, 1 for any other
failure.`,
		Example: `  understudy serve --config understudy.yaml
  kill -HUP $(pidof understudy)    # after a change of the file`,
		Args: exactly(0, "no arguments"),
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "config `file`; required")
	cmd.Flags().StringVar(&level, "log-level", level, "least `level` that is logged: debug, info, warn or error")
	cmd.Flags().StringVar(&encoding, "log-format", encoding, "`format` of the log: text or json")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := newLogger(cmd.ErrOrStderr(), level, encoding)
		if err != nil {
			return err
		}
		cfg, err := loadConfig(path)
		if err != nil {
			return err
		}
		for _, w := range cfg.Warnings() {
			logger.Warn("config: " + w)
		}
		return serve(cmd.Context(), path, cfg, logger)
	}
	return cmd
}

func newLogger(w io.Writer, level, encoding string) (*slog.Logger, error) {
	options := &slog.HandlerOptions{}
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	options.Level = least
	switch encoding {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", encoding)
}

// loadConfig reads the file; a wrong one has its own exit code.
func loadConfig(path string) (*config.Config, error) {
	if path == "" {
		return nil, errors.New("--config is missing: name the config file, such as --config understudy.yaml")
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, &exitError{code: exitInvalid, err: err}
	}
	return cfg, nil
}

func serve(ctx context.Context, path string, cfg *config.Config, logger *slog.Logger) error {
	tuneMemory(os.Getenv)
	a, err := app.New(cfg, app.Options{Logger: logger, Version: readBuild().Version})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	received := make(chan os.Signal, 4)
	signal.Notify(received, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(received)
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		handleSignals(ctx, received, logger, cancel, func() error { return reload(a, path, logger) })
	}()
	err = a.Run(ctx)
	cancel()
	// The drain is over, and so is the second signal's part.
	signal.Stop(received)
	close(received)
	<-handled
	return err
}

func reload(a *app.App, path string, logger *slog.Logger) error {
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		logger.Warn("config: " + w)
	}
	return a.Reload(cfg)
}

// handleSignals reloads at SIGHUP, drains at the first other signal, and exits at the
// second. It returns when the channel is closed.
func handleSignals(ctx context.Context, received <-chan os.Signal, logger *slog.Logger, drain func(), reload func() error) {
	for s := range received {
		switch {
		case s == syscall.SIGHUP && ctx.Err() == nil:
			if err := reload(); err != nil {
				logger.Error("the config file is not taken over, the one before still serves; check it with `understudy check`", "error", err)
				continue
			}
			logger.Info("config reloaded")
		case s == syscall.SIGHUP:
		case ctx.Err() == nil:
			logger.Info("draining; a second signal exits at once", "signal", s.String())
			drain()
		default:
			logger.Warn("exit without draining", "signal", s.String())
			os.Exit(exitFailed)
		}
	}
}

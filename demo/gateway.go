package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/understudy-serving/understudy/app"
	"github.com/understudy-serving/understudy/config"
)

// startTime and stopTime bound the gateway's start and its drain.
const (
	startTime = 10 * time.Second
	stopTime  = 40 * time.Second
)

// gateway is the gateway as `understudy serve` runs it, in this process.
type gateway struct {
	app     *app.App
	config  *config.Config
	log     *os.File
	stop    context.CancelFunc
	stopped chan struct{} // closed when Run has returned err
	err     error
}

// startGateway runs a gateway with the config text, known as path, and waits until it
// is ready. Its log goes to logPath: the terminal belongs to the story.
func startGateway(ctx context.Context, path string, text []byte, logPath string) (*gateway, error) {
	cfg, err := config.Parse(path, text)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	a, err := app.New(cfg, app.Options{Logger: slog.New(slog.NewTextHandler(log, nil)), Version: "demo"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gateway: %w", err), log.Close())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	g := &gateway{app: a, config: cfg, log: log, stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(g.stopped)
		g.err = a.Run(running)
	}()
	late := time.NewTimer(startTime)
	defer late.Stop()
	select {
	case <-a.Ready():
		return g, nil
	case <-g.stopped:
		err = g.ended()
	case <-late.C:
		err = fmt.Errorf("waited %s for the gateway to be ready", startTime)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.close()
	return nil, err
}

func (g *gateway) grpcAddr() string  { return g.app.GRPCAddr().String() }
func (g *gateway) adminAddr() string { return g.app.AdminAddr().String() }

// watch returns a context that also ends when the gateway does.
func (g *gateway) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-g.stopped:
			cancel(g.ended())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (g *gateway) ended() error {
	if g.err != nil {
		return fmt.Errorf("%w: %w", errGatewayEnded, g.err)
	}
	return errGatewayEnded
}

// close drains the gateway: calls in flight are answered and records flushed.
func (g *gateway) close() {
	g.stop()
	late := time.NewTimer(stopTime)
	defer late.Stop()
	select {
	case <-g.stopped:
	case <-late.C: // the process is about to end; waiting longer helps nobody
	}
	_ = g.log.Close() // all that matters is written
}

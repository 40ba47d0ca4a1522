package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/canary"
	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/gateway"
	"github.com/understudy-serving/understudy/outcome"
	"github.com/understudy-serving/understudy/shadow"
	"github.com/understudy-serving/understudy/sink"
	"github.com/understudy-serving/understudy/store"
)

// Options are what a process gives to its App beside the file.
type Options struct {
	// Logger is slog.Default if nil.
	Logger *slog.Logger
	// Version is what clients and operators are told.
	Version string
}

// App is one gateway process: all parts, wired.
type App struct {
	log      *slog.Logger
	version  string
	registry *prometheus.Registry

	grpc, ops net.Listener
	store     *store.File
	audit     *admin.Audit
	sink      *sink.Sink
	outcomes  *outcome.Desk // nil where the file has no such section
	gateway   *gateway.Gateway
	routes    *routes
	conductor *canary.Conductor
	admin     *admin.Server

	ready    chan struct{}
	draining atomic.Bool
	horizons atomic.Pointer[horizons]

	shutdown time.Duration

	reload sync.Mutex // guards cfg, once New has returned
	cfg    *config.Config
}

// New makes all parts and listens, but serves nothing yet. It fails only on settings
// that can't work: files that can't be read, ports that are taken. It does not wait for
// Kafka, the model servers or the store.
func New(cfg *config.Config, o Options) (*App, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &App{log: o.Logger, version: o.Version, registry: prometheus.NewRegistry(),
		ready: make(chan struct{}), shutdown: cfg.Shutdown, cfg: cfg}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := a.build(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// build makes the parts, those first that others need.
func (a *App) build() error {
	models, err := prepareAll(a.cfg.Models)
	if err != nil {
		return err
	}
	for _, step := range []func() error{a.listen, a.buildState, a.buildSink, a.buildOutcomes, a.buildGateway, a.buildConductor, a.buildAdmin} {
		if err := step(); err != nil {
			return err
		}
	}
	a.routes.configure(models)
	return nil
}

func (a *App) listen() (err error) {
	if a.grpc, err = net.Listen("tcp", a.cfg.Listen.GRPC); err != nil {
		return fmt.Errorf("listen.grpc: %w", err)
	}
	if a.ops, err = net.Listen("tcp", a.cfg.Listen.Admin); err != nil {
		return fmt.Errorf("listen.admin: %w", err)
	}
	return nil
}

func (a *App) buildState() (err error) {
	a.store = store.NewFile(a.cfg.Store.Path)
	a.audit, err = admin.OpenAudit(admin.AuditOptions{Path: a.cfg.Admin.Audit, Logger: a.log, Registerer: a.registry})
	return err
}

func (a *App) buildSink() error {
	if a.cfg.Sink == nil {
		return nil
	}
	o, err := sinkOptions(a.cfg.Sink)
	if err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	o.Registerer, o.Logger = a.registry, a.log
	if a.sink, err = sink.New(o); err != nil {
		return fmt.Errorf("sink: %w", err)
	}
	a.setPolicies(a.cfg)
	return nil
}

func (a *App) buildGateway() error {
	secure, err := serverTLS(a.cfg.Listen.TLS)
	if err != nil {
		return fmt.Errorf("listen.tls: %w", err)
	}
	l := a.cfg.Limits
	a.gateway, err = gateway.New(gateway.Options{
		Version: a.version, TLS: secure, Reflection: a.cfg.Reflection,
		MaxMessageBytes: l.MaxMessageBytes, MaxConcurrentStreams: l.MaxConcurrentStreams, MaxConnections: l.MaxConnections,
		MaxInFlight: l.MaxInFlight, MaxInFlightBytes: l.MaxInFlightBytes,
		KeepaliveMinTime: l.Keepalive.MinTime, KeepaliveTime: l.Keepalive.Time, KeepaliveTimeout: l.Keepalive.Timeout,
		MaxIdle: l.Keepalive.MaxIdle, MaxAge: l.Keepalive.MaxAge,
		Registerer: a.registry, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.routes = &routes{
		gateway: a.gateway, sink: a.sink, logger: a.log, mirrors: shadow.NewMetrics(a.registry), drain: a.cfg.Shutdown,
		maxMessageBytes: l.MaxMessageBytes, pool: newPool(a.version, a.log),
	}
	if a.outcomes != nil {
		a.routes.tickets = a.outcomes
	}
	return nil
}

func (a *App) buildConductor() error {
	o := canary.Options{Store: a.store, Publish: a.routes.publish, Audit: a.audit, Logger: a.log, Registerer: a.registry}
	if a.outcomes != nil {
		o.Reports = a.outcomes
	}
	a.conductor = canary.NewConductor(o)
	return nil
}

func (a *App) buildAdmin() error {
	secure, err := serverTLS(a.cfg.Admin.TLS)
	if err != nil {
		return fmt.Errorf("admin.tls: %w", err)
	}
	var tokens []admin.Token
	for _, t := range a.cfg.Admin.Tokens {
		role, err := admin.ParseRole(t.Role)
		if err != nil {
			return fmt.Errorf("admin.tokens: %s: %w", t.Name, err)
		}
		tokens = append(tokens, admin.Token{Name: t.Name, Role: role, File: t.File})
	}
	a.admin, err = admin.New(admin.Options{
		Rollouts: a.conductor, Outcomes: a.reporting(), Tokens: tokens, Audit: a.audit, Gatherer: a.registry, Ready: a.notReady,
		Logger: a.log, Registerer: a.registry, TLS: secure, Version: a.version,
	})
	return err
}

// GRPCAddr is where clients connect.
func (a *App) GRPCAddr() net.Addr { return a.grpc.Addr() }

// AdminAddr is where operators connect.
func (a *App) AdminAddr() net.Addr { return a.ops.Addr() }

// Ready is closed when clients are answered for the first time.
func (a *App) Ready() <-chan struct{} { return a.ready }

// notReady says why /readyz shall fail.
func (a *App) notReady() error {
	switch {
	case a.draining.Load():
		return errors.New("draining: this process is about to end")
	case !a.gateway.Ready():
		return errors.New("no routes yet")
	}
	return nil
}

// Run serves until ctx ends or a listener fails, then drains: calls in flight are
// answered, copies on their way recorded, records flushed, each within the file's
// shutdown time. It returns nil after a drain that ctx asked for.
func (a *App) Run(ctx context.Context) error {
	failed := make(chan error, 3)
	var serving sync.WaitGroup
	serve := func(name string, f func(net.Listener) error, l net.Listener) {
		serving.Go(func() {
			if err := f(l); err != nil {
				failed <- fmt.Errorf("%s listener: %w", name, err)
			}
		})
	}
	conducting, stopConducting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopConducting()
	var conduct sync.WaitGroup
	if err := a.begin(ctx); err != nil {
		failed <- err
	}
	conduct.Go(func() { a.conductor.Run(conducting) })
	a.runOutcomes(&serving)
	serve("gRPC", a.gateway.Serve, a.grpc)
	serve("admin", a.admin.Serve, a.ops)
	close(a.ready)
	a.log.Info("serving", "grpc", a.grpc.Addr().String(), "admin", a.ops.Addr().String())

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, a.drain(func() { stopConducting(); conduct.Wait() }))
	serving.Wait()
	return err
}

// begin gives the conductor the models that New was given. A store that is away is no
// error: the champions serve alone until it is back.
func (a *App) begin(ctx context.Context) error {
	a.reload.Lock()
	defer a.reload.Unlock()
	return a.conductor.Configure(ctx, conductorSettings(a.cfg))
}

// drain takes the parts down in the order of the data: no new calls, no copies, no
// operators, no transitions, no records.
func (a *App) drain(stopConductor func()) error {
	a.draining.Store(true)
	a.log.Info("draining", "within", a.shutdown)
	ctx, cancel := context.WithTimeout(context.Background(), a.shutdown)
	defer cancel()
	var errs []error
	if err := a.gateway.Drain(ctx); err != nil {
		errs = append(errs, fmt.Errorf("drain calls: %w", err))
	}
	a.routes.close(ctx)
	// Operators go before the conductor: what it accepted it must still be able to store.
	errs = append(errs, within(minFlush, a.admin.Shutdown))
	stopConductor()
	errs = append(errs, within(minFlush, a.conductor.Close))
	errs = append(errs, a.closeOutcomes())
	if a.sink != nil {
		// Copies may have used the time up; records get a moment of their own.
		flush, done := context.WithTimeout(context.WithoutCancel(ctx), max(minFlush, time.Until(deadline(ctx))))
		defer done()
		if err := a.sink.Close(flush); err != nil {
			errs = append(errs, fmt.Errorf("flush records: %w", err))
		}
	}
	errs = append(errs, a.release())
	a.log.Info("ended")
	return errors.Join(errs...)
}

// minFlush is what each part behind the calls gets for its end, however long the calls took.
const minFlush = 3 * time.Second

func within(d time.Duration, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return end(ctx)
}

func deadline(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}

// release closes what has no traffic of its own.
func (a *App) release() error {
	a.routes.pool.close()
	return errors.Join(a.audit.Close(), a.store.Close())
}

// Close gives back what New took, for an App that is never Run; Run does it by itself.
func (a *App) Close() error {
	var errs []error
	if a.gateway != nil {
		errs = append(errs, within(minFlush, a.gateway.Drain))
	}
	for _, l := range []net.Listener{a.grpc, a.ops} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if a.sink != nil {
		errs = append(errs, within(minFlush, a.sink.Close))
	}
	errs = append(errs, a.closeOutcomes())
	if a.audit != nil {
		errs = append(errs, a.audit.Close())
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.routes != nil {
		a.routes.pool.close()
	}
	return errors.Join(errs...)
}

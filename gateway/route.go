package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// Upstream calls a model server. It makes one attempt, takes its own reference to req if
// it needs one beyond the call, and does not change md. The reply belongs to the gateway,
// its metadata included.
type Upstream interface {
	Call(ctx context.Context, method string, req *rollout.Payload, md rollout.Metadata) rollout.Reply
}

// Breaker lets live calls through to the challenger. Where ok, done is called exactly
// once, as soon as it is known whose fault the call's end was.
type Breaker interface {
	Allow() (done func(rollout.Outcome), ok bool)
}

// Observer hears of each routed ModelInfer twice: when its arm is chosen, which stamps it,
// and how it ended. It must not block.
type Observer interface {
	Route(rollout.Routing) rollout.Stamp
	Observe(rollout.Outcome)
}

// Tickets makes what a client reports the outcome of its request with. It must not block.
type Tickets interface {
	Issue(rollout.Ticket) string
}

// Recorder takes eligible requests: Accept when one is routed, Offer exactly once
// after its answer is known. Offer owns the exchange and must not block.
type Recorder interface {
	Accept()
	Offer(*rollout.Exchange)
}

// Arm is one version of a model and the way to it.
type Arm struct {
	Spec     rollout.Spec
	Upstream Upstream
}

// The kinds of KeySource.
const (
	KeyParameter = "parameter"
	KeyHeader    = "header"
)

// KeySource is a place in a request that may hold its routing key: a parameter of the
// ModelInferRequest or a metadata key.
type KeySource struct {
	Kind string
	Name string
}

// Route is how requests for one model are served in one state of its rollout.
type Route struct {
	// Model is the public name.
	Model string
	// Revision, Entered, Mode and Weight are the rollout state's. Revision is 0 for a
	// model without a challenger, as may be the rest; mode 0 is champion.
	Revision, Entered uint64
	Mode              rollout.Mode
	Weight            rollout.Weight

	Champion Arm
	// Challenger may be the zero Arm unless Mode is canary or promoted.
	Challenger Arm

	// Pick is the split: the arm for a routing key. Only needed in canary.
	Pick func(key string) rollout.Arm
	// RoutingKey lists where the key is looked for; the first source with a value that
	// is not empty counts, else the gateway's id of the request.
	RoutingKey []KeySource
	// Segments lists where the request's cohorts are looked for; at most
	// rollout.MaxSegmentSources.
	Segments []KeySource
	// ChallengerTimeout bounds a live call of the challenger in canary; 0 is no bound but
	// the half of the caller's own deadline.
	ChallengerTimeout time.Duration
	// ChallengerInFlight caps the challenger's live calls in canary, across routes that
	// share it; nil is no cap.
	ChallengerInFlight *InFlight
	// Breaker stands before the challenger in canary; nil lets everything through.
	Breaker Breaker
	// Observer may be nil.
	Observer Observer
	// Tickets may be nil: then outcomes can't be reported. Rollout and Step, its place in the
	// plan, go into tickets.
	Tickets Tickets
	Rollout uint64
	Step    int
	// Recorder gets the requests of shadow and canary; nil where nothing is recorded.
	Recorder Recorder
}

// ErrInvalidRoute wraps what NewTable has against a route.
var ErrInvalidRoute = errors.New("invalid route")

// InFlight counts calls under way against a cap. One is shared by all snapshots of a
// model's routes, so that the cap survives their swap.
type InFlight struct {
	limit, now atomic.Int64
}

// NewInFlight returns a counter that admits max calls at a time; 0 or less admits any
// number.
func NewInFlight(max int) *InFlight {
	f := new(InFlight)
	f.SetLimit(max)
	return f
}

// SetLimit changes the cap; calls under way stay.
func (f *InFlight) SetLimit(max int) { f.limit.Store(int64(max)) }

// Current returns the number of calls under way.
func (f *InFlight) Current() int { return int(f.now.Load()) }

func (f *InFlight) acquire() bool {
	if f == nil {
		return true
	}
	n, limit := f.now.Add(1), f.limit.Load()
	if limit > 0 && n > limit {
		f.now.Add(-1)
		return false
	}
	return true
}

func (f *InFlight) release() {
	if f != nil {
		f.now.Add(-1)
	}
}

// Table is an immutable set of routes, one a model.
type Table struct {
	routes map[string]*route
	// names lists the models for error messages.
	names string
}

// maxNamed bounds the models that an error message lists.
const maxNamed = 20

// route is a Route made ready for the hot path.
type route struct {
	Route
	// answering is who answers clients outside the split.
	answering rollout.Arm
	metrics   *routeMetrics
}

// NewTable checks the routes and makes them ready for this gateway. Errors wrap
// ErrInvalidRoute.
func (g *Gateway) NewTable(routes ...Route) (*Table, error) {
	t := &Table{routes: make(map[string]*route, len(routes))}
	names := make([]string, 0, len(routes))
	for _, r := range routes {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("%w: model %q: %w", ErrInvalidRoute, r.Model, err)
		}
		if t.routes[r.Model] != nil {
			return nil, fmt.Errorf("%w: model %q stands twice in the table", ErrInvalidRoute, r.Model)
		}
		t.routes[r.Model] = g.prepare(r)
		names = append(names, r.Model)
	}
	slices.Sort(names)
	t.names = strings.Join(names[:min(len(names), maxNamed)], ", ")
	switch more := len(names) - maxNamed; {
	case more > 0:
		t.names += fmt.Sprintf(" and %d more", more)
	case len(names) == 0:
		t.names = "none"
	}
	return t, nil
}

func (r *Route) check() error {
	switch {
	case r.Model == "":
		return errors.New("want a name")
	case r.Champion.Upstream == nil:
		return errors.New("the champion has no upstream")
	case (r.Mode == rollout.ModeCanary || r.Mode == rollout.ModePromoted) && r.Challenger.Upstream == nil:
		return fmt.Errorf("mode %s: the challenger has no upstream", r.Mode)
	case r.Mode == rollout.ModeCanary && r.Pick == nil:
		return errors.New("mode canary needs Pick, the split")
	}
	for _, k := range r.RoutingKey {
		if k.Kind != KeyParameter && k.Kind != KeyHeader || k.Name == "" {
			return fmt.Errorf("routing key %q: want parameter:NAME or header:NAME", k.Kind+":"+k.Name)
		}
	}
	return nil
}

func (g *Gateway) prepare(r Route) *route {
	r.RoutingKey = slices.Clone(r.RoutingKey)
	for i := range r.RoutingKey {
		if r.RoutingKey[i].Kind == KeyHeader {
			r.RoutingKey[i].Name = strings.ToLower(r.RoutingKey[i].Name)
		}
	}
	out := &route{Route: r, answering: rollout.Champion, metrics: g.metrics.forRoute(r.Model, r.Mode == rollout.ModeCanary)}
	if r.Mode == rollout.ModePromoted {
		out.answering = rollout.Challenger
	}
	return out
}

// arm returns the champion for every value but Challenger.
func (r *route) arm(a rollout.Arm) *Arm {
	if a == rollout.Challenger {
		return &r.Challenger
	}
	return &r.Champion
}

// recorded tells whether requests are eligible for a record.
func (r *route) recorded() bool {
	return r.Recorder != nil && (r.Mode == rollout.ModeShadow || r.Mode == rollout.ModeCanary)
}

// serves tells whether a request for this version is the rollout's. Version 2 cannot be
// asked for by name while it is a challenger: that would bypass weight and rollback.
func (r *route) serves(version string) bool {
	return version == "" || version == r.Champion.Spec.Version ||
		r.Mode == rollout.ModePromoted && version == r.Challenger.Spec.Version
}

// versions says in words which versions a client may ask for.
func (r *route) versions() string {
	var named []string
	if v := r.Champion.Spec.Version; v != "" {
		named = append(named, fmt.Sprintf("%q", v))
	}
	if v := r.Challenger.Spec.Version; r.Mode == rollout.ModePromoted && v != "" && v != r.Champion.Spec.Version {
		named = append(named, fmt.Sprintf("%q", v))
	}
	if len(named) == 0 {
		return "leave the version empty"
	}
	return "served: " + strings.Join(named, ", ") + ", or leave the version empty"
}

// find returns the route for a model and version, or the status that refuses them. The
// route is also returned where only the version is wrong.
func (t *Table) find(model, version string) (*route, rollout.Status) {
	r := t.routes[model]
	switch {
	case r == nil:
		return nil, rollout.Status{Code: rollout.NotFound,
			Message: fmt.Sprintf("model %q is not served here; models: %s", clip(model), t.names)}
	case !r.serves(version):
		return r, rollout.Status{Code: rollout.NotFound,
			Message: fmt.Sprintf("model %q has no version %q; %s", model, clip(version), r.versions())}
	}
	return r, rollout.Status{}
}

// clip bounds what a client sent before it goes into a message.
func clip(s string) string {
	const longest = 200
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	defaultInterval = time.Second
	leastInterval   = 100 * time.Millisecond
)

// WatchRollouts implements the RPC.
func (s service) WatchRollouts(ctx context.Context, r *adminv1.WatchRolloutsRequest, stream *connect.ServerStream[adminv1.WatchRolloutsResponse]) error {
	interval, err := intervalOf(r.Interval)
	if err != nil {
		return rpcError(err)
	}
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return rpcError(errWatchers)
	}
	conn := callerOf(ctx).conn
	lift := limitWriting(conn)
	lift()
	err = s.watch(ctx, r.Model, interval, func(v rollout.View) error {
		defer limitWriting(conn)()
		return stream.Send(&adminv1.WatchRolloutsResponse{Rollout: toProto(v)})
	})
	// A Send that failed has its code already.
	var sent *connect.Error
	if errors.As(err, &sent) {
		return sent
	}
	return rpcError(err)
}

func intervalOf(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return defaultInterval, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, badArgument("interval", "%v", err)
	}
	if got := d.AsDuration(); got < leastInterval {
		return 0, badArgument("interval", "%s; want at least %s", got, leastInterval)
	}
	return d.AsDuration(), nil
}

// watch sends the views now, after changes and at every interval. It ends with an error
// always: the caller's end, the server's, or send's.
func (s service) watch(ctx context.Context, model string, interval time.Duration, send func(rollout.View) error) error {
	changed, cancel := s.opts.Rollouts.Subscribe()
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		views, err := s.watched(model)
		if err != nil {
			return err
		}
		for _, v := range views {
			if err := send(v); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closing:
			return errShutdown
		case <-changed:
		case <-tick.C:
		}
	}
}

func (s service) watched(model string) ([]rollout.View, error) {
	if model == "" {
		return s.opts.Rollouts.List(), nil
	}
	v, err := s.get(model)
	return []rollout.View{v}, err
}

// limitWriting gives a client requestTimeout to take what is sent until the returned
// func is called: one that stops reading must not keep a watch for ever.
func limitWriting(conn *http.ResponseController) (lift func()) {
	if conn == nil || conn.SetWriteDeadline(time.Now().Add(requestTimeout)) != nil {
		return func() {}
	}
	return func() { _ = conn.SetWriteDeadline(time.Time{}) }
}

package upstream

import (
	"context"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/understudy-serving/understudy/rollout"
)

// watch logs when a server is lost and when it is back, once each, until ctx ends.
func watch(ctx context.Context, conn *grpc.ClientConn, spec rollout.Spec, log *slog.Logger) {
	lost := false
	for {
		state := conn.GetState()
		switch {
		case state == connectivity.TransientFailure && !lost:
			lost = true
			log.Warn("model server unreachable: calls fail at once, reconnecting every few seconds; check that it runs and that the target and its TLS settings are right",
				"arm", spec.String())
		case state == connectivity.Ready && lost:
			lost = false
			log.Info("model server reachable again", "arm", spec.String())
		}
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

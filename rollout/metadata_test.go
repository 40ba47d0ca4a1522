package rollout_test

import (
	"testing"

	"github.com/understudy-serving/understudy/rollout"
)

func TestReservedKeysBelongToOneHop(t *testing.T) {
	for key, want := range map[string]bool{
		"": true, ":authority": true, ":path": true,
		"grpc-timeout": true, "grpc-encoding": true, "grpc-accept-encoding": true, "grpc-status-details-bin": true,
		"grpc-trace-bin": false,
		"content-type":   true, "content-length": true, "user-agent": true, "te": true, "connection": true, "host": true,
		"authorization": false, "cookie": false, "x-user-id": false, "traceparent": false, "grpcish": false, "custom-bin": false,
	} {
		if got := rollout.Reserved(key); got != want {
			t.Errorf("Reserved(%q) = %v, want %v", key, got, want)
		}
	}
}

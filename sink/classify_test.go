package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

func TestClassify(t *testing.T) {
	tests := []struct {
		err    error
		want   verdict
		reason string
	}{
		{io.EOF, heals, failUnreachable},
		{syscall.ECONNREFUSED, heals, failUnreachable},
		{errUnwritten, heals, failUnreachable},
		{context.DeadlineExceeded, heals, failTimeout},
		{kafka.RequestTimedOut, heals, failTimeout},
		{fmt.Errorf("produce: %w", kafka.NotLeaderForPartition), heals, failLeader},
		{fmt.Errorf("produce: %w", protocol.NewErrNoLeader("t", 1)), heals, failLeader},
		{protocol.NewErrNoTopic("t"), heals, failTopic},
		{kafka.UnknownTopicOrPartition, heals, failTopic},
		{kafka.NotEnoughReplicas, heals, failReplicas},
		{kafka.TopicAuthorizationFailed, heals, failUnauthorized},
		{kafka.SASLAuthenticationFailed, heals, failUnauthorized},
		{x509.UnknownAuthorityError{}, heals, failTLS},
		{tls.RecordHeaderError{}, heals, failTLS},
		{kafka.UnsupportedCompressionType, heals, failBroker},
		{kafka.KafkaStorageError, heals, failBroker},
		{kafka.MessageSizeTooLarge, tooLarge, failTooLarge},
		{kafka.MessageTooLargeError{}, tooLarge, failTooLarge},
		{kafka.InvalidRecord, refused, failRefused},
		{kafka.Unknown, doubtful, failBroker},
		{errors.New("anything else"), heals, failUnreachable},
	}
	m := newMetrics()
	for _, tt := range tests {
		got, reason := classify(tt.err)
		if got != tt.want || reason != tt.reason {
			t.Errorf("classify(%v) = %v, %s; want %v, %s", tt.err, got, reason, tt.want, tt.reason)
		}
		if !slices.Contains(failReasons(t, m), reason) {
			t.Errorf("reason %s has no series from the start", reason)
		}
	}
}

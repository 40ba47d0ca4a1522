package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// verdict is what a failed write means for the record.
type verdict uint8

const (
	// heals: the same bytes may be taken later.
	heals verdict = iota
	// tooLarge: the request is over the topic's limit.
	tooLarge
	// refused: something in the request will never be taken.
	refused
	// doubtful: the broker does not say whether it means the record or itself.
	doubtful
)

// Why a write failed: all values of the label `reason` of produce errors.
const (
	failUnreachable  = "unreachable"
	failTimeout      = "timeout"
	failTLS          = "tls"
	failUnauthorized = "unauthorized"
	failTopic        = "topic_missing"
	failLeader       = "leader"
	failReplicas     = "replicas"
	failTooLarge     = "too_large"
	failRefused      = "refused"
	failBroker       = "broker_error"
)

// classify judges the error of a write.
func classify(err error) (verdict, string) {
	var code kafka.Error
	if errors.As(err, &code) {
		return classifyCode(code)
	}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &kafka.MessageTooLargeError{}):
		return tooLarge, failTooLarge
	case errors.Is(err, protocol.ErrNoTopic):
		return heals, failTopic
	case errors.Is(err, protocol.ErrNoLeader), errors.Is(err, protocol.ErrNoPartition):
		return heals, failLeader
	case errors.As(err, &unknownAuthority), errors.As(err, &hostname), errors.As(err, &certificate),
		errors.As(err, &record), errors.As(err, &alert):
		return heals, failTLS
	case isTimeout(err):
		return heals, failTimeout
	}
	return heals, failUnreachable
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &netErr) && netErr.Timeout()
}

func classifyCode(code kafka.Error) (verdict, string) {
	switch code {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		return tooLarge, failTooLarge
	case kafka.InvalidRecord, kafka.InvalidTimestamp, kafka.UnsupportedForMessageFormat, kafka.PolicyViolation:
		return refused, failRefused
	case kafka.Unknown, kafka.InvalidMessage:
		return doubtful, failBroker
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.InvalidTopic:
		return heals, failTopic
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch,
		kafka.ReplicaNotAvailable, kafka.BrokerNotAvailable:
		return heals, failLeader
	case kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
		return heals, failReplicas
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.SASLAuthenticationFailed,
		kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState:
		return heals, failUnauthorized
	case kafka.RequestTimedOut:
		return heals, failTimeout
	case kafka.NetworkException:
		return heals, failUnreachable
	}
	return heals, failBroker
}

package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/encoding/protojson"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

// A broker that takes requests and never answers must not keep Close.
func TestHungBroker(t *testing.T) {
	kafka := cluster(t)
	kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		return nil, nil, true // swallowed
	})
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs())
	record(t, s, &c, 0, 100)
	eventually(t, "spooled", func() bool { return s.Snapshot().Spooled == 100 })
	began := time.Now()
	err := closeIn(t, s, 300*time.Millisecond)
	if took := time.Since(began); took > 1300*time.Millisecond || l.count("left behind") != 0 {
		t.Errorf("Close took %s, the client was left behind %d times", took, l.count("left behind"))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close = %v", err)
	}
	got := s.Snapshot()
	balanced(t, got)
	if got.Dropped[DropShutdown] != 100 || got.InFlight != 0 || got.Spooled != 0 {
		t.Errorf("ledger %+v", got)
	}
	c.check(t)
}

// A port where nobody speaks Kafka: connections are taken and nothing comes back.
func TestSilentPort(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var c tally
	var l logs
	s := open(t, &l, []string{silent.Addr().String()}, func(o *Options) {
		o.Kafka.SASL = SASL{Mechanism: "plain", Username: "u", Password: "p"}
	})
	record(t, s, &c, 0, 10)
	eventually(t, "spooled", func() bool { return s.Snapshot().Spooled == 10 })
	began := time.Now()
	if err := closeIn(t, s, 200*time.Millisecond); err == nil {
		t.Error("Close says that all was flushed")
	}
	if took := time.Since(began); took > 1500*time.Millisecond {
		t.Errorf("Close took %s", took)
	}
	c.check(t)
}

func TestTopicMissing(t *testing.T) {
	kafka := cluster(t)
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.Topic = "later" })
	record(t, s, &c, 0, 10)
	eventually(t, "a word about the topic", func() bool { return l.count("--create --topic later") == 1 })
	if up, there := s.sender.health.up(); up || there {
		t.Errorf("up %v, topic %v", up, there)
	}
	if kafka.TopicInfo("later") != nil {
		t.Error("the sink created the topic")
	}
	if err := kafka.CreateTopic("later", 2, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 10 })
	eventually(t, "health", func() bool { up, there := s.sender.health.up(); return up && there })
}

func TestSASL(t *testing.T) {
	const user, password = "gateway", "correct horse"
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			kafka := cluster(t, kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), user, password))
			var c tally
			var l logs
			s := open(t, &l, kafka.ListenAddrs(), func(o *Options) {
				o.Kafka.SASL = SASL{Mechanism: mechanism, Username: user, Password: password}
			})
			record(t, s, &c, 0, 10)
			eventually(t, "delivery", func() bool { return s.Snapshot().Delivered == 10 })
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		kafka := cluster(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", user, password))
		// As Apache Kafka answers; kfake just hangs up.
		kafka.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
			kafka.KeepControl()
			resp := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
			resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
			return resp, nil, true
		})
		var c tally
		var l logs
		s := open(t, &l, kafka.ListenAddrs(), func(o *Options) {
			o.Kafka.SASL = SASL{Mechanism: "scram-sha-256", Username: user, Password: "wrong"}
		})
		record(t, s, &c, 0, 1)
		eventually(t, "a word about the credentials", func() bool { return l.count("Kafka refuses the gateway") == 1 })
		if l.count("wrong") != 0 {
			t.Error("the password is in the log")
		}
		if err := closeIn(t, s, 50*time.Millisecond); err == nil || s.Snapshot().Dropped[DropShutdown] != 1 {
			t.Errorf("Close = %v, ledger %+v", err, s.Snapshot())
		}
	})
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	kafka := cluster(t, kfake.TLS(&tls.Config{Certificates: web.TLS.Certificates}))
	t.Run("trusted", func(t *testing.T) {
		var c tally
		var l logs
		s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.TLS = &tls.Config{RootCAs: trusted} })
		record(t, s, &c, 0, 10)
		consume(t, kafka.ListenAddrs(), topic, 10, kgo.DialTLSConfig(&tls.Config{RootCAs: trusted}))
	})
	t.Run("not trusted", func(t *testing.T) {
		var l logs
		s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.TLS = &tls.Config{RootCAs: x509.NewCertPool()} })
		eventually(t, "a word about TLS", func() bool { return l.count("no TLS connection to Kafka") == 1 })
		if err := closeIn(t, s, time.Second); err != nil {
			t.Errorf("Close with nothing to flush = %v", err)
		}
	})
}

func TestJSON(t *testing.T) {
	kafka := cluster(t)
	var c tally
	var l logs
	s := open(t, &l, kafka.ListenAddrs(), func(o *Options) { o.Kafka.Encoding, o.Kafka.MaxRecordBytes = "json", 40_000 })
	record(t, s, &c, 0, 1)
	s.Accept()
	s.Record(large(t, &c, id(1), 35_000)) // fits as protobuf, not as base64
	for _, r := range consume(t, kafka.ListenAddrs(), topic, 2) {
		var p recordv1.Prediction
		if err := protojson.Unmarshal(r.Value, &p); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		if got := string(r.Headers[5].Value); got != "application/json" {
			t.Errorf("content-type %q", got)
		}
		switch p.Id {
		case id(0):
			same(t, &p, prediction(id(0)))
		case id(1):
			if len(r.Value) > 40_000 || p.Cut.GetRequest().GetBytes() < 35_000 {
				t.Errorf("%d bytes, cut %v", len(r.Value), p.Cut)
			}
		}
	}
}

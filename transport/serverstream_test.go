package transport

import (
	"context"
	"errors"
	"io"
	"testing"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// streams is a server whose calls are all served so, as streams.
func streams(t *testing.T, serve func(*ServerStream) rollout.Status) *rig {
	return newRig(t, func(o *ServerOptions) { o.Methods, o.Other = nil, serve })
}

func TestNothingIsReceivedBehindARefusedMessage(t *testing.T) {
	sent := make(chan struct{})
	got := make(chan error, 2)
	p := streams(t, func(s *ServerStream) rollout.Status {
		<-sent
		for range cap(got) {
			m, err := s.Recv()
			m.Free()
			got <- err
		}
		return rollout.Status{}
	}).rawClient()
	p.headers(1, false, asking(chatMethod)...)
	p.data(1, false, framed([]byte("fine")))
	p.data(1, false, framed(make([]byte, mostStreamMessage+1))[:100])
	p.data(1, false, framed([]byte("behind")))
	p.barrier()
	close(sent)
	p.wantField(1, "grpc-status", "0")
	var no *refusal
	if first, second := <-got, <-got; first != nil || !errors.As(second, &no) || no.Code != rollout.ResourceExhausted {
		t.Errorf("received with %v, then %v", first, second)
	}
}

func TestUnreadMessagesAreBoundedAndFreed(t *testing.T) {
	sent := make(chan struct{})
	got := make(chan error, mostUnread+1)
	r := streams(t, func(s *ServerStream) rollout.Status {
		<-sent
		if s.Metadata()["read"] == nil {
			return rollout.Status{Code: rollout.Aborted}
		}
		for range cap(got) {
			m, err := s.Recv()
			m.Free()
			got <- err
		}
		return rollout.Status{}
	})
	p := r.rawClient()
	p.headers(1, false, asking(chatMethod)...) // which nobody reads
	p.headers(3, false, asking(chatMethod, "read", "1")...)
	for range mostUnread + 5 {
		p.data(1, false, framed([]byte("x")))
		p.data(3, false, framed([]byte("x")))
	}
	p.barrier()
	close(sent)
	for range mostUnread {
		if err := <-got; err != nil {
			t.Error(err)
		}
	}
	var no *refusal
	if err := <-got; !errors.As(err, &no) || no.Code != rollout.ResourceExhausted {
		t.Errorf("the last is %v", err)
	}
}

func TestSendThatIsGivenUpEndsTheStream(t *testing.T) {
	first, released := counted([]byte("never"))
	second, dropped := counted([]byte("either"))
	errs := make(chan error, 2)
	r := streams(t, func(s *ServerStream) rollout.Status {
		if err := s.SendHeader(rollout.Metadata{"early": {"1"}}); err != nil {
			t.Error(err)
		}
		errs <- s.Send(first)
		errs <- s.Send(second)
		return rollout.Status{}
	})
	p := r.rawClient(window(0))
	p.headers(1, true, asking(chatMethod, "grpc-timeout", "20m")...)
	p.wantField(1, "early", "1")
	p.wantReset(1, http2.ErrCodeCancel)
	if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a message that the client made no room for: %v", err)
	}
	if err := <-errs; !errors.Is(err, errStreamCut) {
		t.Errorf("the next one: %v", err)
	}
	r.server.Stop()
	if *released != 1 || *dropped != 1 {
		t.Errorf("released %d and %d times", *released, *dropped)
	}
}

func TestStreamEndsWithItsClient(t *testing.T) {
	ended := make(chan error, 1)
	r := streams(t, func(s *ServerStream) rollout.Status {
		_, err := s.Recv()
		ended <- err
		return rollout.Status{}
	})
	for _, test := range []struct {
		end  func(*peer)
		want error
	}{
		{func(p *peer) { p.data(1, true, nil) }, io.EOF},
		{func(p *peer) { p.ok(p.WriteRSTStream(1, http2.ErrCodeCancel)) }, context.Canceled},
		{func(p *peer) { _ = p.nc.Close() }, context.Canceled},
	} {
		p := r.rawClient()
		p.headers(1, false, asking(chatMethod)...)
		test.end(p)
		if err := <-ended; !errors.Is(err, test.want) {
			t.Errorf("it ended with %v, want %v", err, test.want)
		}
	}
}

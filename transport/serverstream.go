package transport

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/understudy-serving/understudy/rollout"
)

// What a streaming call may have unread. Those here are for operators, such as health and reflection,
// and their messages are short.
const (
	mostUnread        = 16
	mostStreamMessage = 64 << 10
)

// ServerStream is a call whose messages come and go one by one. Recv and Send may be
// called at the same time, each by one goroutine.
type ServerStream struct {
	call *serverCall

	mu     sync.Mutex
	unread []*rollout.Payload
	ended  error // io.EOF, or why nothing more comes
	// changed has room for one: something came. flushed likewise: a message was sent.
	changed, flushed chan struct{}

	trailer rollout.Metadata
}

// errStreamCut is what is left to say to a client that has gone.
var errStreamCut = errors.New("transport: the client has gone")

// startStream hands a call to a worker before its messages are here.
func startStream(call *serverCall) {
	call.live = &ServerStream{call: call, changed: make(chan struct{}, 1), flushed: make(chan struct{}, 1)}
	call.in.limit = min(call.in.limit, mostStreamMessage)
	call.run()
}

// Method is the full name, such as "/grpc.health.v1.Health/Watch".
func (s *ServerStream) Method() string { return s.call.path }

// Context ends with the call's deadline, and when the client goes.
func (s *ServerStream) Context() context.Context { return s.call.ctx }

// Metadata is the client's.
func (s *ServerStream) Metadata() rollout.Metadata { return s.call.md }

// SetTrailer sets what is sent with the status.
func (s *ServerStream) SetTrailer(md rollout.Metadata) { s.trailer = md }

// Recv waits for the next message, which the caller frees; io.EOF when the client has sent
// all.
func (s *ServerStream) Recv() (*rollout.Payload, error) {
	for {
		s.mu.Lock()
		if len(s.unread) > 0 {
			p := s.unread[0]
			s.unread = s.unread[1:]
			s.mu.Unlock()
			return p, nil
		}
		ended := s.ended
		s.mu.Unlock()
		if ended != nil {
			return nil, ended
		}
		select {
		case <-s.changed:
		case <-s.call.ctx.Done():
			return nil, s.call.ctx.Err()
		}
	}
}

// SendHeader sends the answer's metadata, before the first message.
func (s *ServerStream) SendHeader(md rollout.Metadata) error {
	return s.write(func() { s.call.header(md) })
}

// Send sends a message, of which it takes the reference, and waits until the client has
// room for it.
func (s *ServerStream) Send(p *rollout.Payload) error {
	err := s.write(func() {
		s.call.header(nil)
		s.call.send(p, false)
	})
	if err != nil {
		p.Free()
		return err
	}
	select {
	case <-s.flushed:
		return nil
	case <-s.call.ctx.Done():
		return s.call.ctx.Err()
	}
}

func (s *ServerStream) write(add func()) error {
	sc := s.call.sc
	sc.mu.Lock()
	if s.call.cut || sc.closing || s.call.left > 0 { // left: of a Send that was given up
		sc.mu.Unlock()
		return errStreamCut
	}
	add()
	sc.mu.Unlock()
	sc.flush()
	return nil
}

// push, over and fail are the reader's.
func (s *ServerStream) push(p *rollout.Payload, zipped bool) error {
	if zipped {
		plain, err := unzip(p, mostStreamMessage)
		p.Free()
		if err != nil {
			return s.call.refused(err.(*refusal).Status)
		}
		p = plain
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended != nil: // behind what was refused
		p.Free()
		return errOver
	case len(s.unread) >= mostUnread:
		p.Free()
		s.ended = &refusal{rollout.Status{Code: rollout.ResourceExhausted, Message: "too many messages that were not read yet"}}
	default:
		s.unread = append(s.unread, p)
	}
	signal(s.changed)
	return nil
}

func (s *ServerStream) over() { s.end(io.EOF) }

func (s *ServerStream) fail(status rollout.Status) { s.end(&refusal{status}) }

func (s *ServerStream) end(err error) {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = err
	}
	s.mu.Unlock()
	signal(s.changed)
}

// discard frees what the handler did not read.
func (s *ServerStream) discard() {
	s.end(errStreamCut)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.unread {
		p.Free()
	}
	s.unread = nil
}

// sent is called when a message went to the queue.
func (s *ServerStream) sent() { signal(s.flushed) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

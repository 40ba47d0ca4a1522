package transport

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// clientCall is one call under way on a client's connection.
type clientCall struct {
	stream
	c    *ClientConn
	done chan struct{}

	// The reader's, until done is closed.
	headed  bool
	header  rollout.Metadata
	trailed bool
	trailer rollout.Metadata
	said    rollout.Status // by the server
	zipped  bool

	// answer is the reader's too, but whoever abandons the call frees what is there: first he sets abandoned,
	// and the reader looks at that last.
	answer    atomic.Pointer[rollout.Payload]
	abandoned atomic.Bool

	// Under conn.mu.
	finished bool
	status   rollout.Status
	unsent   bool
}

// head is the answer's header, or its trailers, or both in one.
func (call *clientCall) head(h *head, last bool) error {
	switch {
	case h.malformed, call.headed && !h.trailers():
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "the answer's header is malformed"})
	case h.tooLarge:
		return call.refused(rollout.Status{Code: rollout.ResourceExhausted, Message: fmt.Sprintf("the answer's metadata is more than %d bytes", h.limit)})
	case call.headed && !last:
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "the answer has a second header that is no trailer"})
	case !call.headed && !last && strings.HasPrefix(h.status, "1"):
		return nil
	case h.garbled != nil:
		return call.refused(rollout.Status{Code: rollout.Internal, Message: h.garbled.Error()})
	}
	if !call.headed {
		if h.status != "200" || !isGRPC(strings.ToLower(h.contentType)) {
			return call.refused(webStatus(h))
		}
		call.headed = true
		call.in.encoding = h.encoding
		if !last {
			call.header = h.md
			return nil
		}
	}
	call.trailer = h.md
	return call.ending(h)
}

// ending reads the server's status.
func (call *clientCall) ending(h *head) error {
	if h.grpcStatus == "" {
		return nil
	}
	code, err := strconv.ParseUint(h.grpcStatus, 10, 32)
	if err != nil {
		return call.refused(rollout.Status{Code: rollout.Internal, Message: fmt.Sprintf("the answer's grpc-status is %q: want a number", h.grpcStatus)})
	}
	call.trailed = true
	call.said = rollout.Status{Code: rollout.Code(code), Message: h.message}
	if h.hasDetails {
		call.said.Details = []byte(h.details)
	}
	return nil
}

// webStatus is what an answer stands for that is not gRPC, such as a proxy's.
func webStatus(h *head) rollout.Status {
	code := rollout.Unknown
	switch h.status {
	case "400":
		code = rollout.Internal
	case "401":
		code = rollout.Unauthenticated
	case "403":
		code = rollout.PermissionDenied
	case "404":
		code = rollout.Unimplemented
	case "429", "502", "503", "504":
		code = rollout.Unavailable
	}
	n, _ := strconv.Atoi(h.status)
	return rollout.Status{Code: code, Message: fmt.Sprintf("the answer is not gRPC: HTTP status %s (%s), content-type %q", h.status, http.StatusText(n), h.contentType)}
}

func (call *clientCall) message() error {
	p, zipped := call.in.payload()
	switch {
	case !call.headed:
		p.Free()
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "the server sent a message before its header"})
	case call.answer.Load() != nil:
		p.Free()
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "the server sent more than one message: want one"})
	}
	call.zipped = zipped
	call.answer.Store(p)
	if call.abandoned.Load() {
		call.answer.Swap(nil).Free()
	}
	return nil
}

// over ends the call as the server said, if it said anything that makes sense.
func (call *clientCall) over() error {
	s := call.said
	switch {
	case !call.trailed:
		s = rollout.Status{Code: rollout.Internal, Message: "the server ended its answer without a status"}
	case s.Code == rollout.OK && call.in.begun():
		s = rollout.Status{Code: rollout.Internal, Message: "the server ended its answer inside a message"}
	case s.Code == rollout.OK && call.answer.Load() == nil:
		s = rollout.Status{Code: rollout.Internal, Message: "the server said OK and sent no message"}
	}
	return call.refused(s)
}

// refused ends the call; what else the server may send is not wanted.
func (call *clientCall) refused(s rollout.Status) error {
	call.c.mu.Lock()
	defer call.c.mu.Unlock()
	call.finish(s)
	return errOver
}

// gone ends the call as the server's RST_STREAM says.
func (call *clientCall) gone(code http2.ErrCode) {
	s := rollout.Status{Code: rollout.Internal, Message: "the server reset the stream: " + code.String()}
	switch code {
	case http2.ErrCodeRefusedStream:
		s.Code, call.unsent = rollout.Unavailable, true
	case http2.ErrCodeCancel:
		s.Code = rollout.Canceled
	case http2.ErrCodeEnhanceYourCalm, http2.ErrCodeFlowControl:
		s.Code = rollout.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		s.Code = rollout.PermissionDenied
	}
	call.forget()
	call.finish(s)
}

// forget has nothing more be said of a stream that the server has done with; c.mu is held.
func (call *clientCall) forget() {
	call.closed = true
	call.drop()
}

// abandon ends a call whose context has ended, unless it has ended by itself.
func (call *clientCall) abandon(ctx context.Context) bool {
	call.c.mu.Lock()
	abandoned := call.finish(ended(ctx))
	call.c.mu.Unlock()
	if abandoned {
		call.abandoned.Store(true)
		call.answer.Swap(nil).Free()
		call.c.flush()
	}
	return abandoned
}

// finish ends the call, unless it has ended; c.mu is held.
func (call *clientCall) finish(s rollout.Status) bool {
	if call.finished {
		return false
	}
	call.finished, call.status = true, s
	if !call.closed || call.left > 0 {
		call.c.queueLocked(func(b []byte) []byte { return appendReset(b, call.id, http2.ErrCodeCancel) })
	}
	call.remove()
	call.c.wake()
	select {
	case <-call.c.leaving:
		call.c.leave() // this may have been the last
	default:
	}
	close(call.done)
	return true
}

// sent is nothing to a call: its end is the answer's.
func (call *clientCall) sent() {}

// reply is what came of a call that ended by itself.
func (call *clientCall) reply(ctx context.Context) rollout.Reply {
	answer := call.answer.Load()
	reply := rollout.Reply{Status: call.status, Header: call.header, Trailer: call.trailer}
	deadline, timed := ctx.Deadline()
	switch {
	case reply.Status.Code == rollout.OK && call.zipped:
		defer answer.Free()
		plain, err := unzip(answer, call.in.limit)
		if err != nil {
			reply.Status = err.(*refusal).Status
		}
		reply.Payload = plain
	case reply.Status.Code == rollout.OK:
		reply.Payload = answer
	default:
		answer.Free()
		if reply.Status.Code == rollout.Canceled && timed && !time.Now().Before(deadline) {
			reply.Status = rollout.Status{Code: rollout.DeadlineExceeded, Message: context.DeadlineExceeded.Error()} // the server's clock was first
		}
	}
	return reply
}

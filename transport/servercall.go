package transport

import (
	"context"
	"strconv"
	"time"

	"golang.org/x/net/http2"

	"github.com/understudy-serving/understudy/rollout"
)

// serverCall is one call on its way through a server. Until its message is whole it
// belongs to the reader, then to a worker.
type serverCall struct {
	stream
	sc     *serverConn
	path   string
	method *Method // nil for one that is served as a stream
	md     rollout.Metadata
	ctx    context.Context
	cancel context.CancelFunc
	// request is the message, zipped where it is still to be decompressed.
	request *rollout.Payload
	zipped  bool
	live    *ServerStream // where method is nil

	// Under conn.mu. running: a handler has it. cut: nobody wants the answer any more.
	admitted, running, cut bool
	headed                 bool // the answer's header went out
	ending                 rollout.Status
	trailer                rollout.Metadata
	waiting                *time.Timer // for the client to make room
}

func newCall(sc *serverConn, id uint32, h *head) *serverCall {
	call := &serverCall{sc: sc, path: h.path, md: h.md}
	call.stream = stream{conn: sc.conn, id: id, end: call, allowed: streamWindow,
		in: inbox{limit: sc.server.options.MaxMessageBytes, encoding: h.encoding}}
	sc.mu.Lock()
	call.window = sc.peer.window
	sc.streams[id] = &call.stream
	sc.mu.Unlock()
	return call
}

// accept finds out whether the call can be served, and begins where nothing more need come.
func (call *serverCall) accept(h *head) (err error) {
	switch {
	case h.tooLarge:
		return refuse(rollout.ResourceExhausted, "metadata of more than %d bytes", h.limit)
	case h.garbled != nil:
		return refuse(rollout.Internal, "%v", h.garbled)
	case h.encoding != "" && h.encoding != identity && h.encoding != zipped:
		return refuse(rollout.Unimplemented, "grpc-encoding %q is not understood: want %s or %s", h.encoding, identity, zipped)
	}
	if call.ctx, call.cancel, err = h.context(); err != nil {
		return err
	}
	method := call.sc.server.methods[h.path]
	if method == nil {
		startStream(call)
		return nil
	}
	call.method = method
	if method.Admit != nil {
		if no := method.Admit(); no.Code != rollout.OK {
			return &refusal{no}
		}
		call.admitted = true
	}
	return nil
}

// head would be trailers, which a gRPC client does not send.
func (call *serverCall) head(h *head, last bool) error {
	if !last || h.malformed || !h.trailers() {
		return &streamError{call.id, http2.ErrCodeProtocol}
	}
	return nil
}

func (call *serverCall) message() error {
	p, zipped := call.in.payload()
	if call.live != nil {
		return call.live.push(p, zipped)
	}
	if call.request != nil {
		p.Free()
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "more than one message: want one"})
	}
	call.request, call.zipped = p, zipped
	return nil
}

func (call *serverCall) over() error {
	switch {
	case call.in.begun():
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "the request ends inside its message"})
	case call.live != nil:
		call.live.over()
	case call.request == nil:
		return call.refused(rollout.Status{Code: rollout.Internal, Message: "a request without a message: want one"})
	default:
		call.run()
	}
	return nil
}

// run hands the call to a worker.
func (call *serverCall) run() {
	call.sc.mu.Lock()
	call.running = true
	call.sc.mu.Unlock()
	call.sc.server.dispatch(call)
}

func (call *serverCall) refused(s rollout.Status) error {
	if call.live != nil {
		call.live.fail(s)
	} else {
		call.answer(rollout.Reply{Status: s})
	}
	return errOver
}

// gone forgets the answer; a handler that has the call finds its context ended.
func (call *serverCall) gone(http2.ErrCode) {
	call.cut, call.closed = true, true
	if call.cancel != nil {
		call.cancel()
	}
	call.drop()
	if !call.running {
		call.finish()
	}
}

// serve runs the handler.
func (call *serverCall) serve() {
	call.answer(call.handled())
}

func (call *serverCall) handled() (reply rollout.Reply) {
	defer func() {
		if p := recover(); p != nil {
			reply = rollout.Reply{Status: call.sc.server.options.Panicked(p)}
		}
	}()
	if call.live != nil {
		status := call.sc.server.options.Other(call.live)
		return rollout.Reply{Status: status, Trailer: call.live.trailer}
	}
	if call.zipped {
		plain, err := unzip(call.request, call.in.limit)
		if err != nil {
			return rollout.Reply{Status: err.(*refusal).Status}
		}
		call.request.Free()
		call.request = plain
	}
	return call.method.Handle(call.ctx, call.request, call.md)
}

// answer sends a reply, of which it takes the payload, and ends the call.
func (call *serverCall) answer(reply rollout.Reply) {
	if call.cancel != nil {
		call.cancel()
	}
	call.request.Free()
	call.request = nil
	sc := call.sc
	sc.mu.Lock()
	call.running = false
	if call.cut || sc.closing {
		reply.Payload.Free()
		call.finish()
	} else {
		call.write(reply)
	}
	sc.mu.Unlock()
	sc.flush()
}

// write queues a reply; mu is held.
func (call *serverCall) write(reply rollout.Reply) {
	if call.left > 0 { // a stream's last message, for which the client made no room
		call.cutOff()
		return
	}
	call.ending, call.trailer = reply.Status, reply.Trailer
	if reply.Payload == nil {
		if len(reply.Header) > 0 {
			call.header(reply.Header)
		}
		call.sent()
		return
	}
	call.header(reply.Header)
	call.send(reply.Payload, false)
	if call.left > 0 {
		call.waiting = time.AfterFunc(mostPatience, call.giveUp)
	}
}

// mostPatience is how long an answer waits for a client that makes no room for all of it. It holds
// a place among all calls under way.
const mostPatience = 2 * time.Minute

// giveUp cuts a call off whose answer was not taken.
func (call *serverCall) giveUp() {
	call.sc.mu.Lock()
	if !call.cut {
		call.cutOff()
	}
	call.sc.mu.Unlock()
	call.sc.flush()
}

// cutOff ends a call in the middle of its answer; mu is held.
func (call *serverCall) cutOff() {
	call.sc.queueLocked(func(b []byte) []byte { return appendReset(b, call.id, http2.ErrCodeCancel) })
	call.cut = true
	call.finish()
}

// header queues the answer's header, unless it went out; mu is held.
func (call *serverCall) header(md rollout.Metadata) {
	if call.headed {
		return
	}
	call.headed = true
	mark := call.begin()
	call.sc.metadata(md)
	call.sc.endBlock(mark, call.id, false)
}

func (call *serverCall) begin() (mark int) {
	mark = call.sc.beginBlock()
	call.sc.common(call.sc.head)
	return mark
}

// sent queues the trailers behind the message; where there is neither, all is one block.
func (call *serverCall) sent() {
	if call.live != nil && call.running {
		call.live.sent()
		return
	}
	sc := call.sc
	var mark int
	if call.headed {
		mark = sc.beginBlock()
	} else {
		mark = call.begin()
		call.headed = true
	}
	if call.ending.Code == rollout.OK {
		sc.common(sc.ok)
	} else {
		sc.lead("grpc-status", strconv.FormatUint(uint64(call.ending.Code), 10))
	}
	if call.ending.Message != "" {
		sc.rare("grpc-message", escape(call.ending.Message))
	}
	if len(call.ending.Details) > 0 {
		sc.rare(detailsKey, encodeValue(detailsKey, string(call.ending.Details)))
	}
	sc.metadata(call.trailer)
	sc.endBlock(mark, call.id, true)
	call.finish()
}

// web answers one who does not speak gRPC.
func (call *serverCall) web(code string) {
	sc := call.sc
	sc.mu.Lock()
	mark := sc.beginBlock()
	sc.lead(":status", code)
	sc.endBlock(mark, call.id, true)
	call.finish()
	sc.mu.Unlock()
}

// finish takes the call off its connection; mu is held, and no handler has it.
func (call *serverCall) finish() {
	if !call.closed && !call.cut {
		// It need not send the rest.
		call.sc.queueLocked(func(b []byte) []byte { return appendReset(b, call.id, http2.ErrCodeNo) })
	}
	call.cut = true
	call.remove()
	if call.waiting != nil {
		call.waiting.Stop()
	}
	call.request.Free()
	call.request = nil
	if call.live != nil {
		call.live.discard()
	}
	if call.admitted {
		call.admitted = false
		call.method.Leave()
	}
	call.sc.closeIfDone()
}

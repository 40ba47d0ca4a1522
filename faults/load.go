package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
	"github.com/understudy-serving/understudy/proto/inference"
)

const (
	// patience is the deadline of a call.
	patience = 10 * time.Second
	// maxWaiting bounds the calls in flight of one load.
	maxWaiting = 512
)

// request is an inference that can be told from all others and made again from its
// name: that is how a record is held against what was sent. It has batch rows, and
// padding: bytes that cost the models nothing.
type request struct{ n, batch, padding int }

// request makes the next one.
func (r *rig) request(batch, padding int) request {
	return request{int(r.requests.Add(1)), batch, padding}
}

func (q request) id() string { return fmt.Sprintf("request-%d-%d-%d", q.n, q.batch, q.padding) }

func parseRequest(id string) (q request, err error) {
	if _, err = fmt.Sscanf(id, "request-%d-%d-%d", &q.n, &q.batch, &q.padding); err != nil || q.id() != id {
		return q, fmt.Errorf("%q is the id of no request that was sent", id)
	}
	return q, nil
}

// message is the request as it is sent: batch rows from the n-th on.
func (q request) message(rows []models.Row) *inference.ModelInferRequest {
	raw := make([]byte, 0, q.batch*models.Features*4)
	for i := range q.batch {
		for _, v := range rows[(q.n+i)%len(rows)].Features {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	}
	message := &inference.ModelInferRequest{
		ModelName: "risk", Id: q.id(),
		Inputs: []*inference.ModelInferRequest_InferInputTensor{
			{Name: modelserver.InputName, Datatype: "FP32", Shape: []int64{int64(q.batch), models.Features}}},
		RawInputContents: [][]byte{raw},
	}
	if q.padding > 0 {
		from := q.n * 31 % (len(noise) - q.padding)
		message.Parameters = map[string]*inference.InferParameter{
			"padding": {ParameterChoice: &inference.InferParameter_StringParam{StringParam: noise[from : from+q.padding]}}}
	}
	return message
}

// noise is text that does not compress well, the same in every run.
var noise = func() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
	chance := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 256<<10)
	for i := range b {
		b[i] = letters[chance.IntN(len(letters))]
	}
	return string(b)
}()

// sentAs tells whether a recorded request is q, bit for bit.
func (q request) sentAs(rows []models.Row, recorded *inference.ModelInferRequest) bool {
	return proto.Equal(q.message(rows), recorded)
}

// client speaks to one gateway over a few connections, and is quick to find one that
// is back.
type client struct {
	conns []*grpc.ClientConn
	rows  []models.Row
}

func newClient(r *rig, g *gateway) (*client, error) {
	c := &client{rows: r.rows}
	r.after(c.close)
	for range 2 {
		conn, err := grpc.NewClient(g.play.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second,
				Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 50 * time.Millisecond}}))
		if err != nil {
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// answer is what a client got for one request.
type answer struct {
	request request
	to      int // which of the load's clients asked
	// id is the gateway's.
	id         string
	sent, done time.Time
	// refused counts tries that found nobody listening: no gateway has seen them.
	refused int
	err     error
}

// ask sends one request. Where nobody listens it tries again until the deadline: that
// is the time between two processes, and no failure of either.
func (c *client) ask(q request, to int) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a := answer{request: q, to: to}
	message := q.message(c.rows)
	stub := inference.NewGRPCInferenceServiceClient(c.conns[q.n%len(c.conns)])
	for {
		var header metadata.MD
		a.sent = time.Now()
		response, err := stub.ModelInfer(ctx, message, grpc.Header(&header))
		a.done, a.err = time.Now(), err
		if nobodyListened(err) && rest(ctx, 5*time.Millisecond) == nil {
			a.refused++
			continue
		}
		if err == nil {
			a.id, a.err = inspect(q, response, header)
		}
		return a
	}
}

// nobodyListened tells whether a call failed before any of it was sent.
func nobodyListened(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.Unavailable && (strings.Contains(s.Message(), "transport: Error while dialing") ||
		strings.Contains(s.Message(), "error reading server preface"))
}

// inspect returns the gateway's id of an answer, or what is wrong with it.
func inspect(q request, r *inference.ModelInferResponse, header metadata.MD) (string, error) {
	ids := header.Get("x-understudy-id")
	switch {
	case len(ids) != 1:
		return "", errors.New("an answer without x-understudy-id")
	case r.ModelName != "risk" || r.ModelVersion != "1" || r.Id != q.id():
		return ids[0], fmt.Errorf("asked risk with id %s, answered by %s version %s with id %s", q.id(), r.ModelName, r.ModelVersion, r.Id)
	case len(r.RawOutputContents) == 0 || len(r.RawOutputContents[0]) != 4*q.batch:
		return ids[0], fmt.Errorf("%s: not one probability for each of its %d rows", q.id(), q.batch)
	}
	return ids[0], nil
}

// load is clients that send requests at a steady pace, whether or not earlier ones are
// answered, and keep every answer. With several gateways each beat of it brings one
// request for each of them, and chance decides which one gets which and in what order:
// a moment in which the machine is busy strikes all of them alike.
type load struct {
	rig       *rig
	clients   []*client
	perSecond int // requests a second and gateway
	batch     int
	padding   int

	mu      sync.Mutex
	answers []answer
}

// newLoad is a load that start starts.
func newLoad(r *rig, perSecond, batch int, to ...*gateway) (*load, error) {
	l := &load{rig: r, perSecond: perSecond, batch: batch}
	for _, g := range to {
		c, err := newClient(r, g)
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, c)
	}
	return l, nil
}

// start sends until stop, which returns when every call has its answer.
func (l *load) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	l.rig.after(stop)
	return stop
}

func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / time.Duration(l.perSecond))
	defer tick.Stop()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	slots := make(chan struct{}, maxWaiting)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, to := range rand.Perm(len(l.clients)) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			q := l.rig.request(l.batch, l.padding)
			waiting.Go(func() {
				a := l.clients[to].ask(q, to)
				l.mu.Lock()
				l.answers = append(l.answers, a)
				l.mu.Unlock()
				<-slots
			})
		}
	}
}

// one sends a single request to the first gateway, and waits for its answer.
func (l *load) one(batch, padding int) answer {
	a := l.clients[0].ask(l.rig.request(batch, padding), 0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, a)
	return a
}

// of returns the answers of one gateway's client so far.
func (l *load) of(to int) (out []answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.answers {
		if a.to == to {
			out = append(out, a)
		}
	}
	return out
}

// latencies returns how long good answers took that were sent in a span.
func (l *load) latencies(to int, x span) (out []time.Duration) {
	for _, a := range l.of(to) {
		if a.err == nil && !a.sent.Before(x.from) && a.sent.Before(x.until) {
			out = append(out, a.done.Sub(a.sent))
		}
	}
	return out
}

// served sums answers up: how many were good, how many not, and the first of those.
func served(answers []answer) (good, bad, refused int, first error) {
	for _, a := range answers {
		refused += a.refused
		if a.err == nil {
			good++
			continue
		}
		if bad++; first == nil {
			first = a.err
		}
	}
	return good, bad, refused, first
}

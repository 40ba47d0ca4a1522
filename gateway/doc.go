// Package gateway is the data plane: it answers the Open Inference Protocol as if it
// were the model server.
//
// The infer handler takes header fields and bytes, and returns bytes and a status; it
// knows no transport. server.go and service.go put gRPC around it. What a request meets on its
// way is in a Route: an immutable snapshot of the rollout, swapped as a whole, so that
// no request takes a lock.
//
// Three things hold for every ModelInfer, also when the client goes away, an arm fails
// or the handler panics: a breaker that let it through hears how it ended exactly once;
// a request that a Recorder accepted is offered to it exactly once; and the Observer gets
// exactly one outcome, under the arm that the split assigned.
package gateway

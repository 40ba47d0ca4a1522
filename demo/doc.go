// Package demo plays the whole of Understudy on one machine: two real models behind
// real gRPC servers, a Kafka broker in this process, the gateway as `understudy serve`
// would run it, and clients. In act 1 a good challenger is rehearsed and promoted; in
// act 2 a challenger breaks in front of the audience and its breaker rolls it back; in
// act 3 two challengers are wrong without failing, and gates roll them back before they
// have an audience.
//
// Nothing it reports is taken from inside the gateway: modes and events come from the
// admin RPC, the gates' verdicts from the audit log, records from a Kafka consumer, the
// challengers' calls from the model servers, and errors from the clients. Where a figure
// can only be the gateway's own (how many requests were eligible, how long the rollback
// took), it is read from /metrics as Prometheus would, and Check compares it with what
// the others saw.
package demo

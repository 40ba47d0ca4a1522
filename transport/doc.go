// Package transport carries unary gRPC calls over HTTP/2, served and made, and leaves
// their messages the bytes that they are.
//
// grpc-go does this too, for every kind of call, with three goroutines a connection and
// several hand-overs a message. A proxy of unary calls needs less: here a
// call's message is read into the buffer that it is forwarded from, and whoever has something to
// say writes it himself, together with what others have put there meanwhile. What it saves
// is in docs/performance.md, why it is worth code of our own in docs/adr/0013.
//
// # One connection
//
// One goroutine reads frames. Everything that is written goes through one queue under
// conn.mu, in which header blocks are encoded too, for their order is part of HPACK. A
// writer first lets others run that are about to write (see conn.flush). It does
// not wait for a peer that does not read: what the kernel does not take at once is left to a goroutine of
// its own, so that a call ends with its context, whatever its server does.
//
// A connection is closed by halves: who has said his last word goes on reading until the peer closes too, or
// a second has passed. Closed at once, with bytes unread, it would take with it what a slow peer has yet to read.
//
// # Sources
//
// RFC 9113 (HTTP/2), RFC 7541 (HPACK, by golang.org/x/net), and gRPC over HTTP/2
// (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). Where those leave a choice,
// grpc-go's is taken.
package transport

// Package upstream calls a model server: one Client per arm, which forwards messages as
// the bytes that they are and brings back all that the server said.
//
// # Addresses
//
// A target is anything that grpc-go's resolvers know; a plain "host:port" means
// "dns:///host:port". Each address has a connection, and calls go round robin over them. The name is
// resolved again when a connection breaks, at most every 30 seconds (grpc-go's floor
// for DNS): where servers come and go behind a headless service, new ones are found
// then. HTTP proxies named by the environment are not used: model servers are near.
//
// # Failure
//
// Nothing is retried: the gateway decides what follows a failure. (A call that the server
// provably never began with, on a GOAWAY for instance, goes to another connection; that is
// still one attempt.) A call to a server that is down fails at once with UNAVAILABLE;
// reconnecting goes on in the background, at least every three seconds or so.
package upstream

// Package interop lets clients that others wrote meet a whole gateway: tritonclient
// infers, kcat reads the topic, grpcurl and curl operate. Its test needs them all, a
// real Kafka and the build tag `interop`; `make interop` sees to that.
package interop

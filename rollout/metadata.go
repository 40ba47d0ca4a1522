package rollout

import "strings"

// Reserved tells whether a metadata key belongs to one hop: to HTTP/2, to gRPC, or to
// the connection. Such keys are never forwarded, in either direction. The key must be
// lower-case. `grpc-trace-bin` travels with the request, like any trace context.
func Reserved(key string) bool {
	switch {
	case key == "" || key[0] == ':':
		return true
	case strings.HasPrefix(key, "grpc-"):
		return key != "grpc-trace-bin"
	}
	switch key {
	case "content-type", "content-length", "user-agent", "te", "host",
		"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer":
		return true
	}
	return false
}

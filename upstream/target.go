package upstream

import (
	"errors"
	"net"
	"net/url"
	"strings"

	_ "google.golang.org/grpc" // brings the resolvers of dns, passthrough and unix
	"google.golang.org/grpc/resolver"
)

// naming is a target, and what finds its addresses: grpc-go's resolvers.
type naming struct {
	target  resolver.Target
	builder resolver.Builder
	// network is what the addresses are dialled on.
	network string
	// authority is the :authority of calls, host the name that TLS verifies.
	authority, host string
}

// parse reads a target as grpc-go does: one without a scheme that is known is a DNS name.
// own is a resolver besides the registered ones, or nil.
func parse(target string, own resolver.Builder) (naming, error) {
	var n naming
	u, err := url.Parse(target)
	if err == nil {
		n.builder = builderOf(u.Scheme, own)
	}
	if n.builder == nil {
		if u, err = url.Parse("dns:///" + target); err != nil {
			return n, err
		}
		n.builder = builderOf("dns", own)
	}
	n.target = resolver.Target{URL: *u}
	n.network, n.authority = "tcp", n.target.Endpoint()
	switch {
	case strings.HasPrefix(u.Scheme, "unix"):
		n.network, n.authority = "unix", "localhost"
	case n.authority == "":
		return n, errors.New("it names no address")
	case n.authority[0] == ':':
		n.authority = "localhost" + n.authority
	}
	n.host = n.authority
	if host, _, err := net.SplitHostPort(n.authority); err == nil {
		n.host = host
	}
	return n, nil
}

func builderOf(scheme string, own resolver.Builder) resolver.Builder {
	if own != nil && own.Scheme() == scheme {
		return own
	}
	return resolver.Get(scheme)
}

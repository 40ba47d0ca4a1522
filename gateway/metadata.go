package gateway

import (
	"fmt"
	"strings"

	"github.com/understudy-serving/understudy/rollout"
)

// IDHeader is the response metadata key of the gateway's id of the request.
const IDHeader = "x-understudy-id"

// TicketHeader is the key of what a client reports the outcome of its request with.
const TicketHeader = "x-understudy-ticket"

// ours begins the keys that only gateways write. A client that could would mark its live
// requests as mirrored, and model servers leave out side effects such as billing for those.
const ours = "x-understudy-"

// forward makes a client's metadata fit to hand on, in place: without what belongs to
// this hop or is for the gateway to say. It refuses what HTTP/2 carries but gRPC does not, for a client library would
// fail on it at the arm, which would then be blamed.
func forward(md rollout.Metadata) error {
	for key, values := range md {
		if rollout.Reserved(key) || strings.HasPrefix(key, ours) {
			delete(md, key)
			continue
		}
		if !validKey(key) {
			return fmt.Errorf("metadata key %q: want lower-case letters, digits, `-`, `_` and `.`", clip(key))
		}
		if strings.HasSuffix(key, "-bin") {
			continue
		}
		for _, v := range values {
			if !printable(v) {
				return fmt.Errorf("metadata %q: its value is not printable ASCII; send other bytes under a key that ends in -bin", clip(key))
			}
		}
	}
	return nil
}

func validKey(key string) bool {
	for _, c := range []byte(key) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

func printable(value string) bool {
	for _, c := range []byte(value) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

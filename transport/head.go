package transport

import (
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"github.com/understudy-serving/understudy/rollout"
)

// head is what a header block says: what belongs to HTTP/2 and gRPC each in its place, and
// the caller's or server's metadata.
type head struct {
	method, path, scheme, status string // the pseudo-headers
	contentType, encoding        string
	timeout                      string
	grpcStatus, message, details string
	hasDetails                   bool
	md                           rollout.Metadata

	size, limit int
	// tooLarge: size is over the limit, and what came after is left out. malformed: it is
	// outside HTTP/2. garbled: a value can't be read; the first one's error.
	tooLarge, malformed bool
	garbled             error
	regular             bool // a field that is no pseudo-header was seen
}

// add takes a field, as hpack's decoder finds it.
func (h *head) add(f hpack.HeaderField) {
	h.size += int(f.Size())
	if h.size > h.limit {
		h.tooLarge = true
		return
	}
	if f.IsPseudo() {
		h.pseudo(f)
		return
	}
	h.regular = true
	switch f.Name {
	case "content-type":
		h.contentType = f.Value
	case "grpc-encoding":
		h.encoding = f.Value
	case "grpc-timeout":
		h.timeout = f.Value
	case "grpc-status":
		h.grpcStatus = f.Value
	case "grpc-message":
		h.message = unescape(f.Value)
	case detailsKey:
		h.setDetails(f.Value)
	case "te":
		h.malformed = h.malformed || f.Value != "trailers"
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.malformed = true // of HTTP/1
	default:
		h.meta(f)
	}
}

// pseudo takes a pseudo-header: those come first, each once.
func (h *head) pseudo(f hpack.HeaderField) {
	var into *string
	switch f.Name {
	case ":method":
		into = &h.method
	case ":path":
		into = &h.path
	case ":scheme":
		into = &h.scheme
	case ":status":
		into = &h.status
	case ":authority":
		h.malformed = h.malformed || h.regular
		return
	}
	if into == nil || *into != "" || h.regular {
		h.malformed = true
		return
	}
	*into = f.Value
}

// detailsKey is where gRPC carries the serialized google.rpc.Status.
const detailsKey = "grpc-status-details-bin"

func (h *head) setDetails(value string) {
	if details, err := decodeValue(detailsKey, value); err == nil {
		h.details, h.hasDetails = details, true
	}
}

func (h *head) meta(f hpack.HeaderField) {
	if !validName(f.Name) || !httpguts.ValidHeaderFieldValue(f.Value) {
		h.malformed = true
		return
	}
	if rollout.Reserved(f.Name) {
		return
	}
	value, err := decodeValue(f.Name, f.Value)
	if err != nil {
		if h.garbled == nil {
			h.garbled = err
		}
		return
	}
	if h.md == nil {
		h.md = make(rollout.Metadata)
	}
	h.md[f.Name] = append(h.md[f.Name], value)
}

// validName tells whether HTTP/2 takes a field's name, which is in lower case there.
func validName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 'A' && c <= 'Z' || !httpguts.IsTokenRune(rune(c)) {
			return false
		}
	}
	return name != ""
}

// request and trailers tell whether the pseudo-headers are those of one.
func (h *head) request() bool {
	return h.method != "" && h.path != "" && h.scheme != "" && h.status == ""
}

func (h *head) trailers() bool { return h.method+h.path+h.scheme+h.status == "" }

// isGRPC tells whether a content-type is gRPC's, of whatever message format.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(contentType, grpcType)
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

const grpcType = "application/grpc"

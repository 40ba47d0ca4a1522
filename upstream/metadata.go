package upstream

import (
	"maps"

	"github.com/understudy-serving/understudy/rollout"
)

// MirrorHeader marks a mirrored call; its value is "1". A model server may look at it to
// leave out side effects, such as billing.
const MirrorHeader = "x-understudy-mirror"

// Credentials lists the metadata keys that a mirrored call goes without by default.
func Credentials() []string {
	return []string{
		"authorization", "proxy-authorization", "cookie", "set-cookie",
		"x-api-key", "api-key", "x-auth-token", "x-access-token", "x-csrf-token",
		"x-amz-security-token", "x-goog-iap-jwt-assertion", "x-forwarded-access-token", "x-forwarded-client-cert",
	}
}

// marked is what most mirrored calls carry. Nobody changes it.
var marked = rollout.Metadata{MirrorHeader: {"1"}}

// ForMirror returns a copy of md for a mirrored call: without the keys in strip
// (lower-case; nil stands for Credentials) and marked with MirrorHeader. md is left as it is,
// and the result is not to be changed.
func ForMirror(md rollout.Metadata, strip []string) rollout.Metadata {
	if len(md) == 0 {
		return marked
	}
	if strip == nil {
		strip = Credentials()
	}
	out := make(rollout.Metadata, len(md)+1)
	maps.Copy(out, md)
	for _, key := range strip {
		delete(out, key)
	}
	out[MirrorHeader] = marked[MirrorHeader]
	return out
}

package canary

import (
	"github.com/cespare/xxhash/v2"

	"github.com/understudy-serving/understudy/rollout"
)

// The seeds of XXH64. The sampling's differs from the split's, so that the keys that a
// canary takes are no special part of those that were rehearsed.
const (
	splitSeed  = 0
	sampleSeed = 0x73616d706c65 // "sample"
)

// Pick returns the arm that serves key: the challenger where the key's bucket is below
// w, else the champion. The bucket hangs on model, challenger and key alone, so raising
// w only adds keys, and a new challenger gets another selection of them.
func Pick(model string, challenger rollout.Spec, key string, w rollout.Weight) rollout.Arm {
	if bucket(splitSeed, model, challenger, key) < w {
		return rollout.Challenger
	}
	return rollout.Champion
}

// Sampled tells whether a request with key is mirrored at the share w, independently of
// Pick. The same key is always sampled or never.
func Sampled(model string, challenger rollout.Spec, key string, w rollout.Weight) bool {
	return bucket(sampleSeed, model, challenger, key) < w
}

// bucket is XXH64(model ‖ 0 ‖ target ‖ 0 ‖ model there ‖ 0 ‖ version ‖ 0 ‖ key) mod 10,000.
func bucket(seed uint64, model string, s rollout.Spec, key string) rollout.Weight {
	var d xxhash.Digest
	d.ResetWithSeed(seed)
	for _, part := range [...]string{model, s.Target, s.Model, s.Version} {
		// A Digest's writes never fail.
		_, _ = d.WriteString(part)
		_, _ = d.WriteString("\x00")
	}
	_, _ = d.WriteString(key)
	return rollout.Weight(d.Sum64() % uint64(rollout.FullWeight))
}

package gate

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"runtime"
	"testing"
)

func keysOf(random *rand.Rand, n int) (k Keys, put []uint64) {
	for range n {
		put = append(put, random.Uint64())
		k.Put(put[len(put)-1])
	}
	return k, put
}

func TestKeysAreUnited(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	a, inA := keysOf(random, 3000)
	b, inB := keysOf(random, 5000)
	var ab, ba Keys
	ab.Add(a)
	ab.Add(b)
	ba.Add(b)
	ba.Add(a)
	ba.Add(Keys{})
	if !bytes.Equal(written(t, ab), written(t, ba)) || ab.size != ba.size {
		t.Error("a ∪ b is not b ∪ a")
	}
	for _, hash := range append(inA, inB...) {
		if !ab.Has(hash) {
			t.Fatal("a key is lost")
		}
	}
	if a.Has(inB[0]) && b.Has(inA[0]) {
		t.Error("the parts share their bits")
	}
	var back Keys
	if err := json.Unmarshal(written(t, ab), &back); err != nil || back.size != ab.size || !bytes.Equal(written(t, back), written(t, ab)) {
		t.Errorf("%d keys of %d come back: %v", back.size, ab.size, err)
	}
}

// A key is taken for another one as often as the set is full, and never more than every
// other time before it says so.
func TestKeysAreMistakenNowAndThen(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	var k Keys
	if k.Full() || k.Has(1) || !k.Put(1) || k.Put(1) || !k.Has(1) {
		t.Error("a set of one key")
	}
	for !k.Full() {
		k.Put(random.Uint64())
		if k.size == keyBits/100 || k.Full() {
			mistaken := 0
			const tries = 100_000
			for range tries {
				if k.Has(random.Uint64()) {
					mistaken++
				}
			}
			share, want := float64(mistaken)/tries, float64(k.size)/keyBits
			if share > want+0.01 || share < want-0.01 {
				t.Errorf("%v of foreign keys are in a set that is %v full", share, want)
			}
		}
	}
}

func TestKeysDoNotInflateWithoutBound(t *testing.T) {
	var packed bytes.Buffer
	w, _ := flate.NewWriter(&packed, flate.BestSpeed)
	for range 1 << 7 {
		_, _ = w.Write(make([]byte, 1<<16)) // 8 MiB in all
	}
	_ = w.Close()
	text := written(t, base64.StdEncoding.EncodeToString(packed.Bytes()))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var k Keys
	err := json.Unmarshal(text, &k)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; err != nil || k.size != 0 || used > 2<<20 {
		t.Errorf("%d keys, %d bytes used, %v", k.size, used, err)
	}
}

func FuzzKeys(f *testing.F) {
	var k Keys
	k.Put(12345)
	text, _ := json.Marshal(k)
	f.Add(text)
	f.Add([]byte(`""`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var k Keys
		if json.Unmarshal(text, &k) == nil && (k.size < 0 || k.size > keyBits || k.bits != nil && len(k.bits) != keyBits/64) {
			t.Errorf("%d keys in %d words", k.size, len(k.bits))
		}
	})
}

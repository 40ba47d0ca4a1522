package outcome

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

var key = bytes.Repeat([]byte{7}, keyBytes)

func TestTicketsComeBackAsTheyWere(t *testing.T) {
	id := [16]byte{0x01, 0x9c, 1, 2, 3, 4, 0x70, 15: 9}
	made := time.UnixMilli(millisOf(id))
	for name, want := range map[string]rollout.Ticket{
		"least": {ID: id, Model: "m", At: made},
		"usual": {ID: id, Model: "fraud", Rollout: 3, At: made.Add(time.Millisecond), Arm: rollout.Challenger, Entered: 9, Index: 4, Weight: 2500,
			Vote: rollout.Fresh | rollout.First, Segments: [rollout.MaxSegmentSources]string{"eu", "", "web"}},
		"largest": {ID: [16]byte(bytes.Repeat([]byte{255}, 16)), Model: strings.Repeat("m", 256), Rollout: math.MaxUint64, At: made.Add(-time.Hour), Arm: rollout.Champion,
			Entered: math.MaxUint64, Index: -1, Weight: rollout.FullWeight, Vote: 255, Segments: [rollout.MaxSegmentSources]string{
				strings.Repeat("ü", 32), strings.Repeat("b", 64), strings.Repeat("\x00", 64), strings.Repeat("d", 64)}},
	} {
		s := newSigner(key)
		ticket := text.EncodeToString(s.sign(pack(nil, want)))
		_, got, err := s.open(ticket)
		if err != nil || !got.At.Equal(want.At) {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		got.At = want.At
		if got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
		t.Logf("%s: %d characters", name, len(ticket))
		for i := range ticket {
			if changed := ticket[:i] + other1(ticket[i]) + ticket[i+1:]; true {
				if _, _, err := s.open(changed); !errors.Is(err, rollout.ErrForged) && !errors.Is(err, rollout.ErrMalformed) {
					t.Errorf("%s: character %d changed: %v", name, i, err)
				}
			}
			if _, _, err := s.open(ticket[:i]); err == nil {
				t.Errorf("%s: cut to %d characters and taken", name, i)
			}
		}
	}
}

// other1 is another character of the alphabet.
func other1(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestATicketOfAnotherVersion(t *testing.T) {
	s := newSigner(key)
	packed := pack(nil, rollout.Ticket{Model: "m"})
	packed[0] = 2
	if _, _, err := s.open(text.EncodeToString(s.sign(packed))); !errors.Is(err, rollout.ErrMalformed) || !strings.Contains(err.Error(), "its version is 2") {
		t.Errorf("%v", err)
	}
}

// Whatever is signed or not: no panic, and what is taken packs to what it was.
func FuzzOpen(f *testing.F) {
	s := newSigner(key)
	f.Add(text.EncodeToString(s.sign(pack(nil, rollout.Ticket{Model: "fraud", At: noon}))), []byte{1})
	f.Add("", pack(nil, rollout.Ticket{Model: "fraud", Segments: [rollout.MaxSegmentSources]string{"a", "b", "c", "d"}}))
	f.Fuzz(func(t *testing.T, ticket string, packed []byte) {
		if _, _, err := s.open(ticket); err != nil && !errors.Is(err, rollout.ErrForged) && !errors.Is(err, rollout.ErrMalformed) {
			t.Errorf("%v", err)
		}
		got, err := unpack(packed)
		if err != nil {
			return
		}
		again, err := unpack(pack(nil, got))
		if err != nil || again != got {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

package transport

import (
	"math"
	"testing"
	"time"
)

func TestTimeoutsAreNeverShortened(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 99_999_999, 100_000_000, 100_000_001, time.Second, 90 * time.Minute, 1000*time.Hour + 1,
		math.MaxInt64 / 2, math.MaxInt64 - 1, math.MaxInt64} {
		s := string(appendTimeout(nil, d))
		got, err := parseTimeout(s)
		if err != nil || got < d || got-d > d/90_000 {
			t.Errorf("%d is %q on the wire, %d, %v behind it", d, s, got, err)
		}
	}
	if s := string(appendTimeout(nil, -time.Second)); s != "0n" {
		t.Errorf("a deadline in the past is %q", s)
	}
}

func TestTimeoutsAreRead(t *testing.T) {
	for s, want := range map[string]time.Duration{"0n": 0, "5n": 5, "7u": 7000, "12m": 12 * time.Millisecond, "3S": 3 * time.Second,
		"2M": 2 * time.Minute, "99999999S": 99999999 * time.Second, "99999999H": math.MaxInt64} {
		if got, err := parseTimeout(s); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "S", "5", "5s", "-5S", "+5S", "5 S", "123456789n", "0x5S", "5_0S", "1.5S"} {
		if got, err := parseTimeout(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

func TestStatusMessagesSurviveTheWire(t *testing.T) {
	for s, want := range map[string]string{"": "", "plain text": "plain text", "100%": "100%25", "a\nb": "a%0Ab", "größer": "gr%C3%B6%C3%9Fer"} {
		if got := escape(s); got != want || unescape(got) != s {
			t.Errorf("%q is %q on the wire, want %q, and %q behind it", s, got, want, unescape(got))
		}
	}
	for s, want := range map[string]string{"%": "%", "%4": "%4", "%zz": "%zz", "%41%": "A%", "%+1": "%+1"} {
		if got := unescape(s); got != want {
			t.Errorf("%q is read as %q, want %q", s, got, want)
		}
	}
	if got := escape("\xff"); got != "%EF%BF%BD" {
		t.Errorf("what is no UTF-8 is %q", got)
	}
}

func TestBinaryMetadata(t *testing.T) {
	for _, s := range []string{"", "a", "ab", "abc", "\x00\xff"} {
		wire := encodeValue("k-bin", s)
		for _, padded := range []string{wire, wire + "====="[:(4-len(wire)%4)%4]} {
			if got, err := decodeValue("k-bin", padded); err != nil || got != s {
				t.Errorf("%q as %q: %q, %v", s, padded, got, err)
			}
		}
	}
	if _, err := decodeValue("k-bin", "!"); err == nil {
		t.Error("what is not base64 is read")
	}
	if got := encodeValue("k", "!"); got != "!" {
		t.Errorf("a text value is %q on the wire", got)
	}
}

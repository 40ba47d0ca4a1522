package config

import (
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0B": 0, "1024B": 1024, "64MiB": 64 << 20, "1MB": 1_000_000, "1.5KiB": 1536, "0.25GB": 250_000_000, "2GiB": 2 << 30, "3KB": 3000,
	} {
		if got, ok := parseSize(text); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "B", "64", "64 MiB", "-1MiB", "1e3B", "1.5B", "0x1B", "64mib", "1TiB", ".", "1.2.3KB", "99999999999999GiB", "infB"} {
		if got, ok := parseSize(text); ok {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1000: "1000B", 1536: "1536B", 2048: "2KiB", 64 << 20: "64MiB", 3 << 30: "3GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
}

func TestPercentages(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0.0001": 1, "0.25": 2500, "1": 10_000, "12.3457": 123_457, "20": 200_000, "99.9999": 999_999, "1000": 10 * million,
	} {
		if got, ok := parseMillionths(text); !ok || got != want {
			t.Errorf("%s: %d %v, want %d", text, got, ok, want)
		}
		if written := percentText(want); written != text+"%" {
			t.Errorf("%d is written %s, want %s%%", want, written, text)
		}
	}
	for _, text := range []string{"", ".", "-1", "1e3", "0.00001", "12.34567", "1,5", "99999999999999999999"} {
		if got, ok := parseMillionths(text); ok {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 200 * time.Millisecond: "200ms", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s",
	} {
		if got := short(d); got != want {
			t.Errorf("%d is written %s, want %s", d, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"champion", "challenger", "maxMessageBytes", "plan", "tls"}
	for word, want := range map[string]string{
		"chamipon": "champion", "Challenger": "challenger", "max_message_bytes": "maxMessageBytes", "max-mesage-byts": "maxMessageBytes",
		"plans": "plan", "TLS": "tls", "tsl": "tls", "cat": "", "ssl": "", "gates": "", "": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q: meant %q, want %q", word, got, want)
		}
	}
}

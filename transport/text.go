package transport

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// timeoutUnits are grpc-timeout's, the finest first.
var timeoutUnits = [...]struct {
	name byte
	unit time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

// timeoutDigits is how many a grpc-timeout has at most.
const timeoutDigits = 8

// appendTimeout writes a grpc-timeout in the finest unit that its digits reach for, rounded
// up: a server must not give up before its caller does.
func appendTimeout(b []byte, d time.Duration) []byte {
	d = max(d, 0)
	for _, u := range timeoutUnits {
		n := d / u.unit
		if d%u.unit > 0 {
			n++
		}
		if n < 1e8 {
			return append(strconv.AppendInt(b, int64(n), 10), u.name)
		}
	}
	return append(b, "99999999H"...)
}

// parseTimeout reads a grpc-timeout; one that is longer than a Duration holds is the longest.
func parseTimeout(s string) (time.Duration, error) {
	if len(s) < 2 || len(s) > timeoutDigits+1 {
		return 0, fmt.Errorf("grpc-timeout %q: want 1 to %d digits and a unit", s, timeoutDigits)
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil {
		return 0, fmt.Errorf("grpc-timeout %q: want digits before the unit", s)
	}
	for _, u := range timeoutUnits {
		if u.name == s[len(s)-1] {
			if n > uint64(1<<63-1)/uint64(u.unit) {
				return 1<<63 - 1, nil
			}
			return time.Duration(n) * u.unit, nil
		}
	}
	return 0, fmt.Errorf("grpc-timeout %q: want a unit of n, u, m, S, M, H", s)
}

// escape writes a grpc-message: printable ASCII but `%` as it is, other bytes as `%XX`.
func escape(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] <= '~' && s[i] != '%'
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, r := range s { // what is no UTF-8 becomes U+FFFD
		if r >= ' ' && r <= '~' && r != '%' {
			b.WriteByte(byte(r))
			continue
		}
		for _, c := range utf8.AppendRune(nil, r) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// unescape reads a grpc-message; a `%` that begins no byte stays.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

const binarySuffix = "-bin"

// decodeValue reads a metadata value as it is on the wire: base64 for binary keys, padded
// or not.
func decodeValue(key, value string) (string, error) {
	if !strings.HasSuffix(key, binarySuffix) {
		return value, nil
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return "", errors.New("metadata " + strconv.Quote(key) + ": its value is not base64")
	}
	return string(b), nil
}

func encodeValue(key, value string) string {
	if !strings.HasSuffix(key, binarySuffix) {
		return value
	}
	return base64.RawStdEncoding.EncodeToString([]byte(value))
}

package config

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/understudy-serving/understudy/rollout"
)

// text returns the value of a scalar as it is written: for `version: 1.10` that is
// "1.10". ok is false where there is no value or where an error was recorded.
func (n node) text(want string) (s string, ok bool) {
	switch v := n.value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode:
		s = n.value.GetToken().Value
	case *ast.LiteralNode:
		s = strings.TrimRight(v.Value.Value, "\n")
	default:
		n.fail("is %s; want %s", n.describe(), want)
		return "", false
	}
	if s == "" {
		n.fail("is empty; want %s", want)
		return "", false
	}
	if strings.ContainsFunc(s, unicode.IsControl) || strings.TrimSpace(s) != s {
		n.fail("is %q, with a line break, control character or space around it; want %s", clip(s), want)
		return "", false
	}
	return s, true
}

// string reads a key as text into dst, which keeps its default where the key is absent.
func (o object) string(key string, dst *string, want string) {
	if n, ok := o.fields[key]; ok {
		if s, ok := n.text(want); ok {
			*dst = s
		}
	}
}

// choice reads a key as one of a few words.
func (o object) choice(key string, dst *string, valid, later []string) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	s, ok := n.text(oneOf(valid))
	if !ok {
		return
	}
	for _, v := range valid {
		if s == v {
			*dst = s
			return
		}
	}
	for _, l := range later {
		if s == l {
			n.fail("%q is not supported yet; want %s", s, oneOf(valid))
			return
		}
	}
	if meant := nearest(s, valid); meant != "" {
		n.fail("is %s; did you mean %q? want %s", n.describe(), meant, oneOf(valid))
		return
	}
	n.fail("is %s; want %s", n.describe(), oneOf(valid))
}

// bool reads a key as true or false.
func (o object) bool(key string, dst *bool) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	b, ok := n.value.(*ast.BoolNode)
	if !ok {
		n.fail("is %s; want true or false", n.describe())
		return
	}
	*dst = b.Value
}

// integer is what a count may be stored in.
type integer interface {
	~int | ~int64 | ~uint32
}

// count reads a key as a whole number from least to most.
func count[T integer](o object, key string, dst *T, least, most T) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	i, isInt := n.value.(*ast.IntegerNode)
	var v int64
	err := strconv.ErrSyntax
	if isInt {
		v, err = strconv.ParseInt(i.GetToken().Value, 10, 64)
	}
	if err != nil || v < int64(least) || v > int64(most) {
		n.fail("is %s; want a whole number from %d to %d", n.describe(), least, most)
		return
	}
	*dst = T(v)
}

// duration reads a key as a time with its unit, from least to most.
func (o object) duration(key string, dst *time.Duration, least, most time.Duration) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	want := "a time with its unit from " + short(least) + " to " + short(most) + ", such as 200ms, 30s or 1h30m"
	s, ok := n.text(want)
	if !ok {
		return
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < least || v > most {
		n.fail("is %s; want %s", n.describe(), want)
		return
	}
	*dst = v
}

// short writes a duration without trailing zero units: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnits are longest first, so that "B" does not match "KiB".
var sizeUnits = [...]struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
}

// parseSize reads "64MiB", "1.5GB" or "1024B".
func parseSize(s string) (int64, bool) {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		v, ok := parseDecimal(digits)
		if v *= u.bytes; !ok || v != math.Trunc(v) || v > math.MaxInt64/2 {
			return 0, false
		}
		return int64(v), true
	}
	return 0, false
}

// formatSize writes a size in the largest unit that leaves a whole number.
func formatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// size reads a key as a number of bytes with its unit, from least to most.
func size[T integer](o object, key string, dst *T, least, most T) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	want := "a size with its unit from " + formatSize(int64(least)) + " to " + formatSize(int64(most)) + ", such as 64MiB or 1MB"
	s, ok := n.text(want)
	if !ok {
		return
	}
	v, ok := parseSize(s)
	if !ok || v < int64(least) || v > int64(most) {
		n.fail("is %s; want %s", n.describe(), want)
		return
	}
	*dst = T(v)
}

// parseDecimal reads a plain number: digits with at most one point, no sign, no exponent.
func parseDecimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}

// weight reads "5%", or also 5 where bare says so, as a share of at most two decimals.
func (n node) weight(want string, bare bool) (rollout.Weight, bool) {
	s, ok := n.text(want)
	if !ok {
		return 0, false
	}
	digits, percent := strings.CutSuffix(s, "%")
	if v, ok := parseDecimal(digits); ok && (percent || bare) {
		if w, err := rollout.WeightFromPercent(v); err == nil {
			return w, true
		}
	}
	n.fail("is %s; want %s", n.describe(), want)
	return 0, false
}

// tolerance reads a key as a finite number of at least 0, such as 1e-3.
func (o object) tolerance(key string, dst *float64) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	s, ok := n.text("a number of at least 0, such as 1e-3")
	if !ok {
		return
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0) || math.IsInf(v, 0) {
		n.fail("is %s; want a number of at least 0, such as 1e-3", n.describe())
		return
	}
	*dst = v
}

// million is the whole of a share that is read in millionths, which four decimals of a
// percentage are.
const million = 1_000_000

// parseMillionths reads the digits of a percentage with at most four decimals.
func parseMillionths(digits string) (int64, bool) {
	v, ok := parseDecimal(digits)
	scaled := v * (million / 100)
	rounded := math.Round(scaled)
	if !ok || scaled > 1e12 || math.Abs(scaled-rounded) > 1e-6 {
		return 0, false
	}
	return int64(rounded), true
}

// percentage reads a key as a share in millionths, more than none.
func (o object) percentage(key string, dst *int64, most int64, example string) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	want := "a percentage with its sign, more than 0% and at most " + percentText(most) + ", with at most four decimals, such as " + strconv.Quote(example)
	s, ok := n.text(want)
	if !ok {
		return
	}
	digits, percent := strings.CutSuffix(s, "%")
	v, ok := parseMillionths(digits)
	if !ok || !percent || v == 0 || v > most {
		n.fail("is %s; want %s", n.describe(), want)
		return
	}
	*dst = v
}

// number reads a key as a plain number from least to most.
func (o object) number(key string, dst *float64, least, most float64, example string) {
	n, ok := o.fields[key]
	if !ok {
		return
	}
	plain := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	want := "a number from " + plain(least) + " to " + plain(most) + ", such as " + example
	s, ok := n.text(want)
	if !ok {
		return
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= least && v <= most) {
		n.fail("is %s; want %s", n.describe(), want)
		return
	}
	*dst = v
}

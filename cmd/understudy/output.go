package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// format is the value of -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "table|json" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if s != string(formatTable) && s != string(formatJSON) {
		return fmt.Errorf("%q: want table or json", s)
	}
	*f = format(s)
	return nil
}

// bindFormat adds -o to a command.
func bindFormat(cmd *cobra.Command) *format {
	f := formatTable
	cmd.Flags().VarP(&f, "output", "o", "how to print: table for people, json for programs, as the admin RPC's JSON")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return &f
}

// toJSON writes a message as the admin RPC does, unset fields included; on one line
// where indent is "". protojson's own spacing differs from build to build.
func toJSON(m proto.Message, indent string) ([]byte, error) {
	b, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if indent == "" {
		err = json.Compact(&out, b)
	} else {
		err = json.Indent(&out, b, "", indent)
	}
	out.WriteByte('\n')
	return out.Bytes(), err
}

func printJSON(w io.Writer, m proto.Message) error {
	b, err := toJSON(m, "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// clean takes out what could command a terminal: reasons and names come from others.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}

// oneLine is clean for what stands in a line or a table: clients name the cohorts.
func oneLine(s string) string { return strings.ReplaceAll(clean(s), "\n", "·") }

// count writes a number with separators, such as 12,034.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// share writes part of whole in percent, or "-" where there is no whole.
func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	p := 100 * float64(part) / float64(whole)
	if part > 0 && p < 0.01 {
		return "<0.01%" // a few failures among millions are not none
	}
	return percent(p)
}

// percent writes at most two decimals.
func percent(p float64) string {
	return strconv.FormatFloat(math.Round(p*100)/100, 'f', -1, 64) + "%"
}

// latency writes three digits, or "-" for none.
func latency(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	unit := time.Nanosecond
	for d/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// span writes a duration to the second, without units that are zero at its end.
func span(d time.Duration) string {
	if d > 0 && d < time.Second {
		return d.String()
	}
	s := d.Round(time.Second).String()
	for _, zero := range []struct{ unit, tail string }{{"m", "0s"}, {"h", "0m"}} {
		if rest, ok := strings.CutSuffix(s, zero.unit+zero.tail); ok {
			s = rest + zero.unit
		}
	}
	return s
}

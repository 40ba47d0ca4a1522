package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid is what every error of Load and Parse matches.
var ErrInvalid = errors.New("invalid config")

// maxErrors bounds what one run reports; a file with more is wrong as a whole.
const maxErrors = 100

// Error is one thing that is wrong with a file.
type Error struct {
	// File is the name given to Load or Parse.
	File string
	// Line counts from 1; 0 where the file as a whole is meant.
	Line int
	// Field is the path of keys, such as "models[0].plan[2].setWeight"; empty for the
	// whole file.
	Field string
	// Problem says what is wrong and what would be valid.
	Problem string
}

// Error returns "file:line: field: problem".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Field != "" {
		b.WriteString(": ")
		b.WriteString(e.Field)
	}
	b.WriteString(": ")
	b.WriteString(e.Problem)
	return b.String()
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// fail records an error at a line.
func (d *document) fail(line int, field, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.name, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)})
}

// warn records a warning at a line.
func (d *document) warn(line int, field, format string, args ...any) {
	e := &Error{File: d.name, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)}
	d.warnings = append(d.warnings, e.Error())
}

// joined returns all errors as one, in the order of their lines.
func (d *document) joined() error {
	slices.SortStableFunc(d.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	// One value reached through several aliases is wrong once.
	all := slices.CompactFunc(d.errs, func(a, b *Error) bool { return *a == *b })
	if more := len(all) - maxErrors; more > 0 {
		all = append(all[:maxErrors:maxErrors], &Error{File: d.name, Problem: fmt.Sprintf("and %d more errors", more)})
	}
	joined := make([]error, len(all))
	for i, e := range all {
		joined[i] = e
	}
	return errors.Join(joined...)
}

// oneOf lists what would be valid: `"a", "b" or "c"`.
func oneOf(valid []string) string {
	quoted := make([]string, len(valid))
	for i, v := range valid {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

// nearest returns the known word that s was probably meant to be, or "".
func nearest(s string, known []string) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
	}
	best, least := "", 3
	for _, k := range known {
		n := edits(plain(s), plain(k))
		// Half of a short word is no likeness.
		if n < least && 2*n < len(k) {
			best, least = k, n
		}
	}
	return best
}

// edits is the Levenshtein distance, with a swap of neighbours as one edit.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			substitute := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				substitute++
			}
			rows[i][j] = min(substitute, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

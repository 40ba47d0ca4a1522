package main

import (
	"regexp"
	"strings"
)

// commentsOf finds the comment above each message, field, enum and value of a .proto file, by
// name, such as "Prediction.id": the stubs' descriptors have none. It reads what buf format
// and the house's style make of a file: one declaration a line.
func commentsOf(proto string) map[string]string {
	found := map[string]string{}
	var above, within []string
	for line := range strings.Lines(proto) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "//"); ok {
			above = append(above, strings.TrimSpace(text))
			continue
		}
		if m := block.FindStringSubmatch(line); m != nil {
			within = append(within, m[1])
			found[strings.Join(within, ".")] = strings.Join(above, " ")
		} else if m := entry.FindStringSubmatch(line); m != nil && len(within) > 0 {
			found[strings.Join(within, ".")+"."+m[1]] = strings.Join(above, " ")
		}
		if line == "}" && len(within) > 0 {
			within = within[:len(within)-1]
		}
		above = nil
	}
	return found
}

var (
	block = regexp.MustCompile(`^(?:message|enum) (\w+) \{`)
	entry = regexp.MustCompile(`(\w+) = \d+;`)
)

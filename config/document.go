package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxDepth bounds nesting: the parser's time and stack grow with its square.
	maxDepth = 40
	// maxNodes bounds the nodes visited, and so what aliases to aliases can unfold to.
	maxNodes = 100_000
)

// document is one file while it is read: its anchors, and what was found wrong.
type document struct {
	name     string
	anchors  map[string]ast.Node
	visited  int
	errs     []*Error
	warnings []string
}

// read returns the root of the only document in data; ok is false where an error was recorded.
func (d *document) read(data []byte) (root node, ok bool) {
	switch {
	case len(data) > MaxFileBytes:
		d.fail(0, "", "larger than %d bytes; is this a config file?", MaxFileBytes)
		return node{}, false
	case !utf8.Valid(data):
		d.fail(1+strings.Count(string(data[:invalidAt(data)]), "\n"), "", "not UTF-8; save the file as UTF-8 text")
		return node{}, false
	}
	file, err := parseYAML(strings.TrimPrefix(string(data), "\uFEFF"))
	if err != nil {
		d.syntax(err)
		return node{}, false
	}
	body, ok := d.onlyBody(file)
	if !ok {
		return node{}, false
	}
	d.anchors = map[string]ast.Node{}
	ast.Walk(anchorCollector(d.anchors), body)
	return d.node(body, "")
}

// invalidAt returns the index of the first byte that is not UTF-8.
func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}

// parseYAML parses text. The parser is not ours: should some text make it panic, that
// is an error about the text.
func parseYAML(text string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			file, err = nil, fmt.Errorf("the YAML parser gave up on this text: %v", p)
		}
	}()
	tokens := lexer.Tokenize(text)
	if err := checkDepth(tokens); err != nil {
		return nil, err
	}
	// Duplicate keys are found while reading: there they are errors like others, and
	// do not hide those.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// checkDepth refuses nesting that no config has, before the parser sees it: brackets,
// and what stacks up on a single line (`- - -`, `? ? ?`, `&a &b`).
func checkDepth(tokens token.Tokens) error {
	brackets, line, onLine := 0, 0, 0
	for _, t := range tokens {
		if t.Position != nil && t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets = max(0, brackets-1)
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			onLine++
		}
		if brackets+onLine > maxDepth {
			return &depthError{line: line}
		}
	}
	return nil
}

type depthError struct{ line int }

func (e *depthError) Error() string {
	return fmt.Sprintf("nested more than %d deep; no setting is", maxDepth)
}

// syntax records the parser's complaint.
func (d *document) syntax(err error) {
	var at yaml.Error
	var deep *depthError
	switch {
	case errors.As(err, &deep):
		d.fail(deep.line, "", "%v", deep)
	case errors.As(err, &at) && at.GetToken() != nil && at.GetToken().Position != nil:
		d.fail(at.GetToken().Position.Line, "", "not valid YAML: %s", at.GetMessage())
	default:
		d.fail(0, "", "not valid YAML: %v", err)
	}
}

// onlyBody returns the content of the one document that a config has.
func (d *document) onlyBody(file *ast.File) (ast.Node, bool) {
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType {
			continue
		}
		if _, directive := doc.Body.(*ast.DirectiveNode); directive {
			continue
		}
		bodies = append(bodies, doc.Body)
	}
	switch len(bodies) {
	case 0:
		d.fail(0, "", "empty; a config has at least `models`, and each of them a name and a champion")
		return nil, false
	case 1:
		return bodies[0], true
	}
	d.fail(lineOf(bodies[1]), "", "a second document begins here; a config is one document, without `---` in between")
	return nil, false
}

// anchorCollector gathers what &name stands before.
type anchorCollector map[string]ast.Node

// Visit implements ast.Visitor.
func (c anchorCollector) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil && a.Value != nil {
		c[a.Name.GetToken().Value] = a.Value
	}
	return c
}

// lineOf returns the line where n begins, 0 where unknown.
func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	// A block mapping's own token is its first colon; the key may stand above it.
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return lineOf(m.Values[0].Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

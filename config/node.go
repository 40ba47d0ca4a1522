package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// node is a value of the file together with the path of keys that leads to it.
type node struct {
	d     *document
	value ast.Node
	path  string
}

// node looks through anchors and aliases. ok is false where an error was recorded.
func (d *document) node(value ast.Node, path string) (n node, ok bool) {
	line := lineOf(value)
	for range maxDepth {
		if d.visited++; d.visited > maxNodes {
			if d.visited == maxNodes+1 {
				d.fail(line, path, "the file unfolds to more than %d values; use fewer aliases", maxNodes)
			}
			return node{}, false
		}
		switch v := value.(type) {
		case nil:
			d.fail(line, path, "has no value")
			return node{}, false
		case *ast.AnchorNode:
			value = v.Value
		case *ast.AliasNode:
			name := v.Value.GetToken().Value
			if value, ok = d.anchors[name]; !ok {
				d.fail(line, path, "no anchor &%s in this file; write the value out", name)
				return node{}, false
			}
		case *ast.TagNode:
			d.fail(line, path, "has the tag %s; tags have no use here, remove it", v.GetToken().Value)
			return node{}, false
		default:
			return node{d, value, path}, true
		}
	}
	d.fail(line, path, "an alias of itself; write the value out")
	return node{}, false
}

// line returns where the value stands.
func (n node) line() int { return lineOf(n.value) }

// fail records an error about the value.
func (n node) fail(format string, args ...any) { n.d.fail(n.line(), n.path, format, args...) }

// describe says in a word or two what the value is, for "is …; want …".
func (n node) describe() string {
	switch v := n.value.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.StringNode:
		return strconv.Quote(clip(v.Value))
	case ast.ScalarNode:
		if t := v.GetToken(); t != nil {
			return clip(t.Value)
		}
	}
	return "something else"
}

// clip shortens what a message quotes.
func clip(s string) string {
	const most = 80
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// list returns the elements. ok is false where the value is no list.
func (n node) list(want string) (elements []node, ok bool) {
	seq, isList := n.value.(*ast.SequenceNode)
	if !isList {
		n.fail("is %s; want a list of %s", n.describe(), want)
		return nil, false
	}
	for i, v := range seq.Values {
		if e, ok := n.d.node(v, fmt.Sprintf("%s[%d]", n.path, i)); ok {
			elements = append(elements, e)
		}
	}
	return elements, true
}

// object is a mapping whose keys were checked.
type object struct {
	node
	fields map[string]node
	// asked are the keys that the file has, also those whose value was in error.
	asked map[string]bool
}

// keys are those that a mapping may have.
type keys struct {
	known []string
	// later are keys of features that are not built yet, refused as such.
	later []string
	// hints say of other keys what to write in their place.
	hints map[string]string
}

// object checks the keys of a mapping. ok is false where the value is no mapping.
func (n node) object(k keys) (o object, ok bool) {
	o = object{node: n, fields: map[string]node{}, asked: map[string]bool{}}
	m, isMap := n.value.(*ast.MappingNode)
	if !isMap {
		n.fail("is %s; want a mapping with %s", n.describe(), oneOf(k.known))
		return o, false
	}
	lines := map[string]int{}
	for _, pair := range m.Values {
		if pair.Key.IsMergeKey() {
			continue
		}
		key, keyOK := n.key(pair.Key)
		if !keyOK {
			continue
		}
		at := lineOf(pair.Key)
		if first, twice := lines[key]; twice {
			n.d.fail(at, n.child(key), "a second time; the first is in line %d", first)
			continue
		}
		lines[key] = at
		o.add(k, key, at, pair.Value)
	}
	for _, pair := range m.Values {
		if pair.Key.IsMergeKey() {
			o.merge(k, pair.Value, 0)
		}
	}
	return o, true
}

// key returns a mapping's key as text.
func (n node) key(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	n.d.fail(lineOf(k), n.path, "has a key that is no plain word; want `key: value`")
	return "", false
}

// child returns the path of a key below n.
func (n node) child(key string) string {
	if n.path == "" {
		return clip(key)
	}
	return n.path + "." + clip(key)
}

// add takes one key into the object, or says why not.
func (o *object) add(k keys, key string, line int, value ast.Node) {
	o.asked[key] = true
	switch path := o.child(key); {
	case slices.Contains(k.known, key):
		if v, ok := o.d.node(value, path); ok {
			o.fields[key] = v
		}
	case slices.Contains(k.later, key):
		o.d.fail(line, path, "not supported yet; remove it")
	case k.hints[key] != "":
		o.d.fail(line, path, "unknown key; %s", k.hints[key])
	default:
		if meant := nearest(key, k.known); meant != "" {
			o.d.fail(line, path, "unknown key; did you mean %q?", meant)
			return
		}
		o.d.fail(line, path, "unknown key; want %s", oneOf(k.known))
	}
}

// merge takes in the keys of `<<: *anchor` that the mapping does not have itself.
func (o *object) merge(k keys, value ast.Node, depth int) {
	from, ok := o.d.node(value, o.child("<<"))
	if !ok {
		return
	}
	if depth > maxDepth {
		from.fail("merges itself; write the keys out")
		return
	}
	if seq, isList := from.value.(*ast.SequenceNode); isList {
		for _, v := range seq.Values {
			o.merge(k, v, depth+1)
		}
		return
	}
	m, isMap := from.value.(*ast.MappingNode)
	if !isMap {
		from.fail("is %s; want a mapping to merge, or a list of them", from.describe())
		return
	}
	for _, pair := range m.Values {
		if pair.Key.IsMergeKey() {
			o.merge(k, pair.Value, depth+1)
			continue
		}
		if key, ok := from.key(pair.Key); ok && !o.asked[key] {
			o.add(k, key, lineOf(pair.Key), pair.Value)
		}
	}
}

// has tells whether the file has the key, valid or not.
func (o object) has(key string) bool { return o.asked[key] }

// need records an error unless the file has the key.
func (o object) need(key, what string) {
	if !o.has(key) {
		o.d.fail(o.line(), o.child(key), "missing; want %s", what)
	}
}

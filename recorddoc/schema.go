package main

import (
	"encoding/json"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// node is a JSON Schema, or a part of one. Go writes its keys in order.
type node map[string]any

// schemaOf is the JSON Schema of a record in protobuf's JSON mapping. Fields that are not in
// it are allowed: a record of a later version has some.
func schemaOf(file protoreflect.FileDescriptor, comments map[string]string) []byte {
	record := file.Messages().ByName("Prediction")
	s := schemas{comments: comments, of: file.Package(), defs: node{}}
	root := node{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       string(record.FullName()),
		"description": "A record of Understudy in its JSON encoding. Fields that are not here are of a later version: skip them.",
		"$ref":        s.ref(record),
		"$defs":       s.defs,
	}
	b, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // maps of strings
	}
	return append(b, '\n')
}

type schemas struct {
	comments map[string]string
	of       protoreflect.FullName
	defs     node
}

// ref returns a reference to a message's schema, which it makes once.
func (s *schemas) ref(m protoreflect.MessageDescriptor) string {
	name := string(m.FullName())
	if _, known := s.defs[name]; !known {
		def := node{"type": "object"}
		s.defs[name] = def // before its fields, which may have it
		properties := node{}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			p := s.field(f)
			if m.ParentFile().Package() == s.of {
				describe(p, s.comments[string(m.Name())+"."+string(f.Name())])
			}
			properties[f.JSONName()] = p
		}
		def["properties"] = properties
		if m.ParentFile().Package() == s.of {
			describe(def, s.comments[string(m.Name())])
		}
		if name == string(s.of)+".Prediction" {
			def["required"] = []string{"id"}
		}
	}
	return "#/$defs/" + name
}

func describe(n node, comment string) {
	if comment != "" {
		n["description"] = comment
	}
}

func (s *schemas) field(f protoreflect.FieldDescriptor) node {
	switch {
	case f.IsMap():
		return node{"type": "object", "additionalProperties": s.value(f.MapValue())}
	case f.IsList():
		return node{"type": "array", "items": s.value(f)}
	}
	return s.value(f)
}

// value is the JSON of one value: https://protobuf.dev/programming-guides/json.
func (s *schemas) value(f protoreflect.FieldDescriptor) node {
	switch f.Kind() {
	case protoreflect.StringKind:
		return node{"type": "string"}
	case protoreflect.BytesKind:
		return node{"type": "string", "contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]*={0,2}$"}
	case protoreflect.BoolKind:
		return node{"type": "boolean"}
	case protoreflect.Int32Kind:
		return node{"type": "integer"}
	case protoreflect.Uint32Kind:
		return node{"type": "integer", "minimum": 0}
	case protoreflect.Int64Kind:
		return node{"type": "string", "pattern": "^-?[0-9]+$"}
	case protoreflect.Uint64Kind:
		return node{"type": "string", "pattern": "^[0-9]+$"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return node{"anyOf": []node{{"type": "number"}, {"enum": []string{"NaN", "Infinity", "-Infinity"}}}}
	case protoreflect.EnumKind:
		return s.enum(f.Enum())
	}
	switch f.Message().FullName() {
	case "google.protobuf.Timestamp":
		return node{"type": "string", "format": "date-time"}
	case "google.protobuf.Duration":
		return node{"type": "string", "pattern": `^-?[0-9]+(\.[0-9]+)?s$`}
	}
	return node{"$ref": s.ref(f.Message())}
}

// enum lists the values that there are; one of a later version is a number.
func (s *schemas) enum(e protoreflect.EnumDescriptor) node {
	var names []string
	for i := range e.Values().Len() {
		names = append(names, string(e.Values().Get(i).Name()))
	}
	return node{"anyOf": []node{{"enum": names}, {"type": "integer"}}}
}

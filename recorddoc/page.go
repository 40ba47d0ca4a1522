package main

import (
	_ "embed" // page.md
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:embed page.md
var intro string

// page is docs/record.md.
func page(file protoreflect.FileDescriptor, comments map[string]string) []byte {
	var b strings.Builder
	b.WriteString(intro)
	for i := range file.Messages().Len() {
		writeMessage(&b, file.Messages().Get(i), comments)
	}
	for i := range file.Enums().Len() {
		writeEnum(&b, file.Enums().Get(i), comments)
	}
	return []byte(b.String())
}

func writeMessage(b *strings.Builder, m protoreflect.MessageDescriptor, comments map[string]string) {
	name := string(m.Name())
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| field | number | type | JSON | |\n| --- | --- | --- | --- | --- |\n", name, comments[name])
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fmt.Fprintf(b, "| `%s` | %d | %s | `%s`: %s | %s |\n", f.Name(), f.Number(), typeOf(f), f.JSONName(), jsonOf(f),
			strings.ReplaceAll(comments[name+"."+string(f.Name())], "|", `\|`))
	}
}

func writeEnum(b *strings.Builder, e protoreflect.EnumDescriptor, comments map[string]string) {
	name := string(e.Name())
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| value | number |\n| --- | --- |\n", name, comments[name])
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		fmt.Fprintf(b, "| `%s` | %d |\n", v.Name(), v.Number())
	}
}

// typeOf is the field's type as the .proto file has it; messages of the record are links.
func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return fmt.Sprintf("map of %s to %s", typeOf(f.MapKey()), typeOf(f.MapValue()))
	case f.IsList():
		return "repeated " + kindOf(f)
	}
	return kindOf(f)
}

func kindOf(f protoreflect.FieldDescriptor) string {
	var d protoreflect.Descriptor
	switch f.Kind() {
	case protoreflect.MessageKind:
		d = f.Message()
	case protoreflect.EnumKind:
		d = f.Enum()
	default:
		return f.Kind().String()
	}
	if d.ParentFile().Path() == f.ParentFile().Path() {
		return fmt.Sprintf("[%s](#%s)", d.Name(), strings.ToLower(string(d.Name())))
	}
	return "`" + string(d.FullName()) + "`"
}

// jsonOf says what the JSON encoding makes of the field.
func jsonOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "object"
	case f.IsList():
		return "array"
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		return "string"
	case protoreflect.BytesKind:
		return "base64"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return "number as a string"
	case protoreflect.EnumKind:
		return "name of the value"
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Timestamp":
			return "RFC 3339"
		case "google.protobuf.Duration":
			return `seconds, such as "0.012s"`
		}
		return "object"
	}
	return "number"
}

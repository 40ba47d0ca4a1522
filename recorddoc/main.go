// Recorddoc writes what consumers of the records read: docs/record.md and the JSON Schema
// docs/record.schema.json, both from record.proto.
//
//	go run ./recorddoc     in the module's root; `make generate` does it, a test sees that it was done
package main

import (
	"log"
	"os"

	recordv1 "github.com/understudy-serving/understudy/proto/understudy/record/v1"
)

const (
	source   = "proto/understudy/record/v1/record.proto"
	document = "docs/record.md"
	schema   = "docs/record.schema.json"
)

func main() {
	text, err := os.ReadFile(source)
	if err != nil {
		log.Fatal(err)
	}
	file := recordv1.File_understudy_record_v1_record_proto
	for path, content := range map[string][]byte{document: page(file, commentsOf(string(text))), schema: schemaOf(file, commentsOf(string(text)))} {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

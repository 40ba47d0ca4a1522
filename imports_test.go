// Package understudy_test holds the whole module to its import graph.
package understudy_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden file")

const module = "github.com/understudy-serving/understudy/"

// parts are the packages that only app knows together.
var parts = []string{"admin", "canary", "config", "gateway", "outcome", "shadow", "sink", "store", "upstream"}

// owners are the only packages that may know a technology; their tests may too.
var owners = map[string][]string{
	"github.com/goccy/go-yaml": {"config"},
	// The sink writes to Kafka, the report and the outcomes' desk read from it; see docs/adr/0010.
	"github.com/segmentio/kafka-go": {"examples/consumer-go", "outcome", "report/kafkasource", "sink"},
	"github.com/sony/gobreaker":     {"canary"},
	"github.com/spf13/cobra":        {"cmd/understudy"},
	"github.com/twmb/franz-go":      {"demo", "faults", "kafkatest"},
	"github.com/x448/float16":       {"oip"},
	"go.etcd.io/bbolt":              {"outcome", "store"},
	"golang.org/x/net/http2":        {"transport"},
}

// harnesses are tests with a command line.
var harnesses = []string{"bench", "faults"}

// pack is one package as `go list` describes it.
type pack struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// name is the path inside the module.
func (p pack) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// own returns which of the imports are the module's, by name.
func own(imports []string) (names []string) {
	for _, i := range imports {
		if name, ok := strings.CutPrefix(i, module); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func packages(t *testing.T) (packs []pack) {
	t.Helper()
	watch(t)
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pack
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packs
		} else if err != nil {
			t.Fatal(err)
		}
		packs = append(packs, p)
	}
}

// watch opens every folder of sources, so that a cached result counts only while none
// of them has changed: what `go list` reads on its own, the cache does not see.
func watch(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && (path == "build" || path == "bin" || path != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The graph is checked in, so that a new edge is a line in a review.
func TestImportGraph(t *testing.T) {
	const file = "testdata/imports.txt"
	got := "# Which package of this module imports which, tests left out.\n" +
		"# `go test . -update` rewrites this file.\n"
	for _, p := range packages(t) {
		if imports := own(p.Imports); len(imports) > 0 {
			got += fmt.Sprintf("%s: %s\n", p.name(), strings.Join(imports, " "))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the import graph is not that of %s; see ARCHITECTURE.md, and -update if it is meant\n%s", file, diff(string(want), got))
	}
}

// diff returns the lines that only one of two texts has.
func diff(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, l := range w {
		if !slices.Contains(g, l) {
			fmt.Fprintln(&b, "-", l)
		}
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			fmt.Fprintln(&b, "+", l)
		}
	}
	return b.String()
}

// forbidden says why a package may not import another of the module; "" where it may.
func forbidden(from, to string) string {
	// A part's own test support is of the part.
	part, _, _ := strings.Cut(from, "/")
	switch {
	case from == "rollout":
		return "the domain imports nothing"
	case from == "oip" && to != "rollout" && !strings.HasPrefix(to, "proto/"):
		return "oip knows the domain and the protocol only"
	case from == "transport" && to != "rollout":
		return "a transport carries bytes, whatever they are"
	case from == "spool":
		return "a spool keeps bytes, whatever they are"
	case to == "spool" && slices.Contains(parts, part) && part != "sink":
		return "records wait in the sink's spool, and nothing else does"
	case strings.HasPrefix(from, "proto/") && !strings.HasPrefix(to, "proto/"):
		return "generated stubs import stubs"
	case slices.Contains(parts, part) && slices.Contains(parts, to) && part != to:
		return "parts never import each other: declare the interface that is needed, app plugs it in"
	case slices.Contains(parts, part) && (to == "app" || to == "demo" || strings.HasPrefix(to, "demo/")):
		return "parts know nothing of the whole"
	case from == "app" && (to == "demo" || strings.HasPrefix(to, "demo/")):
		return "the gateway knows nothing of its demo"
	}
	return ""
}

func TestForbiddenImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, to := range own(p.Imports) {
			if why := forbidden(p.name(), to); why != "" {
				t.Errorf("%s imports %s: %s", p.name(), to, why)
			}
			if !slices.Contains(harnesses, p.name()) && (to == "kafkatest" || strings.HasSuffix(to, "test")) {
				t.Errorf("%s imports %s: test support is for tests", p.name(), to)
			}
		}
		// In tests the parts stay apart too; kafkatest and modelserver are for all.
		for _, to := range own(slices.Concat(p.TestImports, p.XTestImports)) {
			if why := forbidden(p.name(), to); why != "" && to != p.name() && !strings.HasPrefix(to, "demo/") {
				t.Errorf("a test of %s imports %s: %s", p.name(), to, why)
			}
		}
		if p.name() == "rollout" {
			for _, i := range p.Imports {
				if strings.Contains(i, ".") {
					t.Errorf("rollout imports %s: the domain needs the standard library alone", i)
				}
			}
		}
	}
}

func TestTechnologiesHaveOneOwner(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			for _, library := range slices.Sorted(maps.Keys(owners)) {
				if strings.HasPrefix(i, library) && !slices.Contains(owners[library], p.name()) {
					t.Errorf("%s imports %s, which belongs to %v", p.name(), i, owners[library])
				}
			}
		}
	}
}

// The rules themselves, on edges that must not and that may be.
func TestForbiddenEdges(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"gateway", "shadow", false},
		{"canary", "config", false},
		{"store/storetest", "store", true},
		{"store/storetest", "sink", false},
		{"sink", "app", false},
		{"sink", "spool", true},
		{"gateway", "spool", false},
		{"spool", "rollout", false},
		{"app", "spool", true},
		{"rollout", "oip", false},
		{"oip", "rollout", true},
		{"oip", "proto/inference", true},
		{"oip", "upstream", false},
		{"app", "demo/modelserver", false},
		{"app", "gateway", true},
		{"gateway", "oip", true},
		{"cmd/understudy", "demo", true},
		{"proto/inference", "rollout", false},
	} {
		if why := forbidden(c.from, c.to); (why == "") != c.allowed {
			t.Errorf("%s → %s: %q", c.from, c.to, why)
		}
	}
}

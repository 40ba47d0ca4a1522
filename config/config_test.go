package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file, or rewrites the file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (-update rewrites it)\n got:\n%s\nwant:\n%s", file, got, want)
	}
}

// cases returns the YAML files in a folder of testdata.
func cases(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", folder, err)
	}
	return files
}

// parseFile parses a case; its messages name the file without folders.
func parseFile(t *testing.T, file string) (*Config, error) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(filepath.Base(file), data)
}

// dump writes a config for a golden file: JSON, and the warnings.
func dump(t *testing.T, c *Config) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Warnings() {
		fmt.Fprintln(&b, "warning:", w)
	}
	return b.String()
}

func TestAccepted(t *testing.T) {
	for _, file := range cases(t, "accepted") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := parseFile(t, file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".golden", dump(t, c))
		})
	}
}

func TestRefused(t *testing.T) {
	for _, file := range cases(t, "refused") {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			c, err := parseFile(t, file)
			if err == nil {
				t.Fatalf("accepted as %s", dump(t, c))
			}
			if !errors.Is(err, ErrInvalid) || len(All(err)) == 0 || c != nil {
				t.Errorf("config %v with error %v", c, err)
			}
			golden(t, file+".golden", err.Error()+"\n")
		})
	}
}

// A message is of use only if it says where, and what would be right.
func TestEveryRefusalSaysWhatWouldBeValid(t *testing.T) {
	helpful := regexp.MustCompile(`want |did you mean|remove|a second time|not valid YAML|one document|; |already|twice|rehearses first|write `)
	for _, file := range cases(t, "refused") {
		_, err := parseFile(t, file)
		for _, e := range All(err) {
			if e.File != filepath.Base(file) || !helpful.MatchString(e.Problem) {
				t.Errorf("%v", e)
			}
			if e.Line == 0 && !strings.Contains(file, "empty") && !strings.Contains(file, "only_comments") {
				t.Errorf("no line: %v", e)
			}
		}
	}
}

func TestTheAnnotatedExample(t *testing.T) {
	const file = "../understudy.yaml"
	c, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "admin.tokens") {
		t.Errorf("warnings %q, want one of the missing tokens", w)
	}
	golden(t, "testdata/understudy.golden", dump(t, c))

	// What it shows without calling it an example is the default.
	bare, err := Parse("bare.yaml", []byte(`
models: [{name: fraud, champion: {target: "a:1"}, challenger: {target: "b:1"}}]
sink: {kafka: {brokers: ["kafka:9092"]}, spool: {}}
outcomes: {kafka: {brokers: ["kafka:9092"]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	show, hide := c.Models[0], bare.Models[0]
	show.Champion.Spec, show.Challenger.Spec = hide.Champion.Spec, hide.Challenger.Spec
	show.RoutingKey, show.Compare, show.Plan, show.Rules.Gates, show.Rules.Inputs = nil, nil, nil, nil, nil
	c.Models, bare.Models = []Model{show}, []Model{hide}
	c.warnings, bare.warnings = nil, nil
	if !reflect.DeepEqual(c, bare) {
		t.Errorf("the example shows as default\n%s\nbut the defaults are\n%s", dump(t, c), dump(t, bare))
	}
}

// The settings that the example has commented out are valid too, so that it shows them all.
func TestTheAnnotatedExampleWithEverythingOn(t *testing.T) {
	data, err := os.ReadFile("../understudy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	on := regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAll(data, []byte("$1$2"))
	c, err := Parse("understudy.yaml", on)
	if err != nil {
		t.Fatal(err)
	}
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
	m := c.Models[0]
	for name, set := range map[string]bool{
		"listen.tls": c.Listen.TLS != nil, "admin.tls": c.Admin.TLS != nil, "tokens": len(c.Admin.Tokens) == 3,
		"champion.tls": m.Champion.TLS != nil, "challenger.tls": m.Challenger.TLS != nil,
		"kafka.deadLetterTopic": c.Sink.Kafka.DeadLetterTopic != "",
		"kafka.tls":             c.Sink.Kafka.TLS != nil, "kafka.sasl": c.Sink.Kafka.SASL != nil,
		"outcomes.keyFile": c.Outcomes.KeyFile != "", "outcomes.kafka.tls": c.Outcomes.Kafka.TLS != nil, "outcomes.kafka.sasl": c.Outcomes.Kafka.SASL != nil,
	} {
		if !set {
			t.Errorf("%s is not in the example", name)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, ErrInvalid) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrInvalid) {
		t.Errorf("a folder: %v", err)
	}
	big := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(big, bytes.Repeat([]byte("#\n"), MaxFileBytes), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("a file of 2 MiB: %v", err)
	}
}

func TestConfigured(t *testing.T) {
	champion, challenger := rollout.Spec{Target: "a:1", Model: "m"}, rollout.Spec{Target: "b:1", Model: "m"}
	plan := rollout.Plan{{Kind: rollout.StepPause, Manual: true}}
	rules := rollout.Rules{Alpha: 0.01, Gates: []rollout.Gate{{Metric: rollout.Disagreement, Limit: 0.02}}}
	m := Model{Name: "m", Champion: Arm{Spec: champion}, Plan: plan, Rules: rules}
	want := rollout.Configured{Model: "m", Champion: champion, Plan: plan, Rules: rules}
	if got := m.Configured(); !reflect.DeepEqual(got, want) {
		t.Errorf("without a challenger: %+v", got)
	}
	m.Challenger, want.Challenger = &Arm{Spec: challenger}, challenger
	if got := m.Configured(); !reflect.DeepEqual(got, want) {
		t.Errorf("with a challenger: %+v", got)
	}
}

func TestManyErrorsAreAllReportedUpToALimit(t *testing.T) {
	var b strings.Builder
	for i := range 150 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, err := Parse("many.yaml", []byte(b.String()))
	all := All(err)
	if len(all) != maxErrors+1 || all[maxErrors].Problem != "and 51 more errors" {
		t.Errorf("%d errors, the last: %v", len(all), all[len(all)-1])
	}
	if all[7].Line != 7 || all[7].Field != "key6" { // the missing models come first, in line 1
		t.Errorf("out of order: %v", all[7])
	}
}

func TestAliasesCannotUnfoldWithoutEnd(t *testing.T) {
	var b strings.Builder
	b.WriteString("models:\n  - &a0 {name: m, champion: {target: \"a:1\"}}\n")
	b.WriteString("  - &list [" + strings.Repeat("*a0, ", 900) + "*a0]\n")
	b.WriteString("routingKey: &b [" + strings.Repeat("*list, ", 900) + "*list]\n")
	b.WriteString("sink: {kafka: {brokers: *b}}\n")
	began := time.Now()
	_, err := Parse("bomb.yaml", []byte(b.String()))
	if err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestDeepNestingIsRefusedAtOnce(t *testing.T) {
	for _, unit := range []string{"[", "{a: ", "- ", "? ", "&a [", "!a "} {
		began := time.Now()
		_, err := Parse("deep.yaml", []byte(strings.Repeat(unit, 50_000/len(unit))))
		if !errors.Is(err, ErrInvalid) || time.Since(began) > 5*time.Second {
			t.Errorf("%q: %.200v after %v", unit, err, time.Since(began))
		}
	}
}

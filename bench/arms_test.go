package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/understudy-serving/understudy/config"
	"github.com/understudy-serving/understudy/proto/inference"
)

// armsOfAll are those of a machine that has every peer.
func armsOfAll() []arm {
	b := &bench{champion: "127.0.0.1:1001", challenger: "127.0.0.1:1002", slow: "127.0.0.1:1003", hung: "127.0.0.1:1004", dead: "127.0.0.1:1005",
		peers: []peer{{name: nginx, file: "nginx.conf", script: nginxScript, mirrors: true}, {name: haproxy, file: "haproxy.cfg", script: haproxyScript},
			{name: envoy, file: "envoy.yaml", script: envoyScript, mirrors: true}}}
	return b.arms()
}

func filledScript(t *testing.T, a arm, dir string) string {
	t.Helper()
	p := a.play
	p.Listen, p.Admin, p.Champion, p.Dir, p.User = "127.0.0.1:2001", "127.0.0.1:2002", "127.0.0.1:1001", dir, "root"
	if p.Challenger == "" {
		p.Challenger = "127.0.0.1:1002"
	}
	text, err := p.fill(a.script)
	if err != nil {
		t.Fatalf("%s: %v", a.name, err)
	}
	return text
}

// The gateway takes each config as it is, without a warning that would mean something.
func TestGatewayConfigs(t *testing.T) {
	for _, a := range armsOfAll() {
		if a.peer != "understudy" {
			continue
		}
		file := filepath.Join(t.TempDir(), a.file)
		if err := os.WriteFile(file, []byte(filledScript(t, a, t.TempDir())), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Errorf("%s: %v", a.name, err)
			continue
		}
		if has := cfg.Models[0].Challenger != nil; has != (a.play.Mode != "champion") {
			t.Errorf("%s: challenger %v", a.name, has)
		}
	}
}

func TestPeerConfigsDifferInWhatTheyShould(t *testing.T) {
	marks := map[string][2]string{ // of mirror and split
		nginx:   {"mirror /mirror;", "10% challenger;"},
		haproxy: {"", "127.0.0.1:1002 proto h2 weight 10"},
		envoy:   {"request_mirror_policies", "{name: challenger, weight: 10}"},
	}
	for _, a := range armsOfAll() {
		if marks, ok := marks[a.peer]; ok {
			text := filledScript(t, a, "/d")
			if got := marks[0] != "" && strings.Contains(text, marks[0]); got != a.play.Mirror {
				t.Errorf("%s mirrors: %v\n%s", a.name, got, text)
			}
			if got := strings.Contains(text, marks[1]); got != (a.play.Weight > 0) {
				t.Errorf("%s splits: %v\n%s", a.name, got, text)
			}
			if strings.Contains(text, "<no value>") || !strings.Contains(text, "2001") || !strings.Contains(text, "1001") {
				t.Errorf("%s:\n%s", a.name, text)
			}
		}
	}
}

// Goals and tables name arms; a name that nobody has would silently not be measured.
func TestNamesOfArms(t *testing.T) {
	var names []string
	for _, a := range armsOfAll() {
		names = append(names, a.name)
	}
	for _, p := range beside {
		for _, name := range []string{p.of, p.to} {
			if !slices.Contains(names, name) {
				t.Errorf("no arm %q", name)
			}
		}
	}
	sorted := slices.Sorted(slices.Values(names))
	if len(slices.Compact(sorted)) != len(names) {
		t.Errorf("names stand twice: %v", names)
	}
}

func TestMessagesHaveTheirSize(t *testing.T) {
	for _, size := range []int{smallSize, middleSize, largeSize} {
		m := newMessages(size)
		keys := map[string]bool{}
		for n := range 3 {
			p := m.of(n)
			var req inference.ModelInferRequest
			if err := proto.Unmarshal(p.Materialize(), &req); err != nil || p.Len() != size {
				t.Fatalf("%d bytes, want %d: %v", p.Len(), size, err)
			}
			if 4*req.Inputs[0].Shape[1] != int64(len(req.RawInputContents[0])) || req.ModelName != modelName {
				t.Errorf("shape %v for %d bytes", req.Inputs[0].Shape, len(req.RawInputContents[0]))
			}
			keys[req.Parameters["user_id"].GetStringParam()] = true
		}
		if len(keys) != 3 {
			t.Errorf("routing keys %v", keys)
		}
	}
	if got := len(newAnswer()); got != answerSize {
		t.Errorf("the answer has %d bytes", got)
	}
}

func TestFlags(t *testing.T) {
	none := func(string) string { return "" }
	quick := func(name string) string { return map[string]string{"QUICK": "1"}[name] }
	if f, err := parse([]string{"-only", "nginx"}, quick, io.Discard); err != nil || !f.quick || !f.partly || !f.only.MatchString("nginx mirror") {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := parse(nil, none, io.Discard); err != nil || f.quick || f.partly || f.json != "build/bench.json" {
		t.Errorf("%+v, %v", f, err)
	}
	for _, args := range [][]string{{"extra"}, {"-only", "("}, {"-cell", "("}} {
		if _, err := parse(args, none, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestListNeedsNothing(t *testing.T) {
	f, err := parse([]string{"-list"}, func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if ok, err := run(t.Context(), f, &out); !ok || err != nil || !strings.Contains(out.String(), "Envoy mirror\n") || !strings.Contains(out.String(), "cell: 600 KB, 64 callers\n") {
		t.Errorf("%v, %v\n%s", ok, err, out.String())
	}
}

func TestPage(t *testing.T) {
	r := &report{Machine: machine{CPU: "a CPU", Cores: 2, Kernel: "Linux 6"}, Versions: map[string]string{"nginx": "1.2.3"},
		Rows: results{rowOf(champion, some, 30, 70, 71), rowOf(nginx, some, 20, 40, 41)},
		Race: judgeRace([]string{champion, twin, shadowSlow, shadowHung, shadowDead}, windows(10, 1, 1, 1, 1, 1))}
	r.Goals = judgeAll(r)
	text := pageOf(r)
	for _, want := range []string{"2 cores of a CPU", "nginx 1.2.3", "| understudy champion / nginx | 1.74 (1.73–1.75) |", "**not met**", "undecided", "## What was tried"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q\n%s", want, text)
		}
	}
	if svg := string(plotCPU(r.Rows, some)); !strings.Contains(svg, "understudy champion") || !strings.HasSuffix(svg, "</svg>\n") {
		t.Errorf("plot:\n%s", svg)
	}
}

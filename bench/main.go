package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
)

const usage = `Measures what a request costs through the gateway, and beside it through other proxies.

  go run ./bench [flags]        from the module's root; make bench does the same

`

// anything is the pattern to which the user's are added.
const anything = "(?i)"

// flags are what the user asks for.
type flags struct {
	only, onlyCell      *regexp.Regexp
	list, quick, partly bool
	gateway, against    string
	rounds              int
	from, json          string
}

func main() {
	if args := os.Args[1:]; isChild(args) {
		fmt.Fprintln(os.Stderr, "bench:", child(args[0], args[1:]))
		os.Exit(1)
	}
	f, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	met, err := run(ctx, f, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if !met || err != nil {
		os.Exit(1)
	}
}

func parse(args []string, env func(string) string, out io.Writer) (f flags, err error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(out)
	set.Usage = func() {
		fmt.Fprint(out, usage)
		set.PrintDefaults()
	}
	quick := env("QUICK")
	only := set.String("only", "", "run only arms that match this `regexp`; writes no page")
	cells := set.String("cell", "", "measure only cells that match this `regexp`, such as \"200 B, 16\", or \"overload\", \"race\", \"recording\"; writes no page")
	set.BoolVar(&f.list, "list", false, "list arms and cells and run none")
	set.BoolVar(&f.quick, "quick", quick != "" && quick != "0", "fewer and shorter rounds; measures only; also by QUICK=1")
	set.IntVar(&f.rounds, "rounds", 0, "`number` of rounds; default 12, or 3 if quick")
	set.StringVar(&f.gateway, "gateway", "", "`file` of an understudy to measure; default: one built from this tree")
	set.StringVar(&f.against, "against", "", "`file` of another understudy, whose arms stand beside: for the cost of a change")
	set.StringVar(&f.from, "from", "", "measure nothing: write the page from the results in this JSON `file`")
	set.StringVar(&f.json, "json", "build/bench.json", "`file` for the results as JSON")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("argument %q: want flags only, see --help", set.Arg(0))
	}
	f.partly = *only != "" || *cells != "" || f.against != ""
	if f.only, err = regexp.Compile(anything + *only); err != nil {
		return f, fmt.Errorf("--only: %w", err)
	}
	if f.onlyCell, err = regexp.Compile(anything + *cells); err != nil {
		return f, fmt.Errorf("--cell: %w", err)
	}
	return f, nil
}

// report is all that a run found; build/bench.json holds it, and the page is made from it.
type report struct {
	Machine   machine           `json:"machine"`
	Versions  map[string]string `json:"versions"`
	Missing   []string          `json:"missing,omitempty"`
	Quick     bool              `json:"quick"`
	Goals     []goal            `json:"goals"`
	Recording recording         `json:"recording_us,omitempty"`
	Race      *race             `json:"race,omitempty"`
	Overload  *overload         `json:"overload,omitempty"`
	Rows      results           `json:"rows"`
}

// run measures what f asks for. met says that every goal was.
func run(ctx context.Context, f flags, out io.Writer) (met bool, err error) {
	t := newTable(out)
	if f.list {
		list(f, out)
		return true, nil
	}
	if f.from != "" {
		return rewrite(f.from)
	}
	b, err := newBench(ctx, f, t)
	defer b.close()
	if err != nil {
		return false, err
	}
	r, err := b.measureAll(ctx)
	if err != nil {
		return false, err
	}
	if f.partly {
		fmt.Fprint(out, raceTable(r.Race), overloadText(r.Overload))
		return true, nil
	}
	r.Goals = judgeAll(r)
	if err := writeJSON(f.json, r); err != nil {
		return false, err
	}
	met = t.goals(r.Goals, f.json)
	if f.quick {
		return met, nil
	}
	return met, writePage(r)
}

// rewrite makes the page of results that are there.
func rewrite(file string) (met bool, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	r.Goals = judgeAll(&r)
	return true, writePage(&r)
}

func list(f flags, out io.Writer) {
	b := &bench{peers: []peer{{name: nginx, mirrors: true}, {name: haproxy}, {name: envoy, mirrors: true}}}
	for _, a := range b.arms() {
		if f.only.MatchString(a.name) {
			fmt.Fprintln(out, a.name)
		}
	}
	for _, c := range f.cells() {
		fmt.Fprintln(out, "cell:", c)
	}
}

// measureAll fills a report, but for its goals.
func (b *bench) measureAll(ctx context.Context) (r *report, err error) {
	r = &report{Machine: thisMachine(), Versions: b.versions(), Missing: b.missing, Quick: b.quick}
	if r.Rows, err = b.measureCells(ctx); err != nil {
		return r, err
	}
	if b.wants("race") {
		if r.Race, err = b.runRace(ctx); err != nil {
			return r, err
		}
	}
	if b.wants("overload") {
		if r.Overload, err = b.runOverload(ctx); err != nil {
			return r, err
		}
	}
	if !b.wants("recording") {
		return r, ctx.Err()
	}
	if r.Recording, err = b.measureRecording(ctx); err != nil {
		r.Missing = append(r.Missing, err.Error())
		b.t.say("%v", err)
	}
	return r, ctx.Err()
}

// wants tells whether a part is measured that is no cell: all are, or those that are named.
func (b *bench) wants(part string) bool {
	return !b.partly || b.onlyCell.String() != anything && b.onlyCell.MatchString(part)
}

// writeJSON replaces file with the report, at once.
func writeJSON(file string, r *report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return replace(file, append(text, '\n'))
}

// replace writes a file beside the old one first, so that there is always a whole one.
func replace(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

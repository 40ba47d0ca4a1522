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
	"runtime/debug"
	"slices"
	"syscall"
)

// flags are what the user asks for.
type flags struct {
	only              *regexp.Regexp
	list, quick, docs bool
	json              string
}

func main() {
	f, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(2)
	}
	debug.SetGCPercent(400) // each rollout has megabytes of its own, and is soon over
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	met, err := run(ctx, f, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
	}
	if !met || err != nil {
		os.Exit(1)
	}
}

func parse(args []string, env func(string) string, out io.Writer) (f flags, err error) {
	isSet := func(name string) bool { return env(name) != "" && env(name) != "0" }
	set := flag.NewFlagSet("sim", flag.ContinueOnError)
	set.SetOutput(out)
	only := set.String("only", "", "measure only the claims that match this `regexp`, and write no docs")
	set.BoolVar(&f.list, "list", false, "list the claims and measure none")
	set.BoolVar(&f.quick, "quick", isSet("QUICK"), "fewer runs; also by QUICK=1")
	set.BoolVar(&f.docs, "docs", isSet("DOCS"), "write docs/decisions.md though --quick; also by DOCS=1")
	set.StringVar(&f.json, "json", "build/sim.json", "`file` for the claims as JSON")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("argument %q: want flags only, see --help", set.Arg(0))
	}
	f.docs = (f.docs || !f.quick) && *only == ""
	f.only, err = regexp.Compile("(?i)" + *only)
	if err != nil {
		return f, fmt.Errorf("--only: %w", err)
	}
	return f, nil
}

func claims() []claim {
	return slices.Concat(harmless(), counted(), falsePasses(), splits(), detections(), passes())
}

// run measures what f asks for. met says that every claim was.
func run(ctx context.Context, f flags, out io.Writer) (met bool, err error) {
	chosen := slices.DeleteFunc(claims(), func(c claim) bool { return !f.only.MatchString(c.group + ": " + c.name) })
	t := newTable(out)
	if f.list {
		for _, c := range chosen {
			fmt.Fprintf(out, "%s: %s\n", c.group, c.name)
		}
		return true, nil
	}
	var results []result
	for _, c := range chosen {
		t.begin(c.group + ": " + c.name)
		r := c.judge(c.measure(ctx, sample{f.quick, t.step}))
		if ctx.Err() != nil {
			return false, errors.New("interrupted")
		}
		t.row(r)
		results = append(results, r)
		if err := writeJSON(f.json, results); err != nil {
			return false, err
		}
	}
	met = t.foot(results, f.json)
	if !f.docs {
		return met, nil
	}
	return met, writeDocs(ctx, f, results, t)
}

// writeJSON replaces file with the results, at once.
func writeJSON(file string, results []result) error {
	text, err := json.MarshalIndent(struct {
		Claims []result `json:"claims"`
	}{results}, "", "  ")
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

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

const usage = `Breaks things around a gateway and measures what it promises then.

  go run ./faults [flags]        from the module's root; make faults does the same

`

// flags are what the user asks for.
type flags struct {
	group     string
	row       *regexp.Regexp
	list      bool
	quick     bool
	allowSkip bool
	keep      bool
	gateway   string
	json      string
}

func main() {
	f, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	ok, err := run(ctx, f, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func parse(args []string, env func(string) string, out io.Writer) (f flags, err error) {
	pattern := ""
	set := flag.NewFlagSet("faults", flag.ContinueOnError)
	set.SetOutput(out)
	set.Usage = func() {
		fmt.Fprint(out, usage)
		set.PrintDefaults()
	}
	set.StringVar(&f.group, "group", env("GROUP"), "run one `group` only; also by GROUP")
	set.StringVar(&pattern, "row", "", "run only rows whose fault matches this `regexp`")
	set.BoolVar(&f.list, "list", false, "list the rows and run none")
	set.BoolVar(&f.quick, "quick", isSet(env("QUICK")), "each row shortened; also by QUICK=1")
	set.BoolVar(&f.allowSkip, "allow-skip", isSet(env("ALLOW_SKIP")), "a row that this machine can't run does not fail; also by ALLOW_SKIP=1")
	set.BoolVar(&f.keep, "keep", false, "keep the working folder: logs, configs, spools")
	set.StringVar(&f.gateway, "gateway", "", "`file` of an understudy to measure; default: one built from this tree")
	set.StringVar(&f.json, "json", "build/faults.json", "`file` for the rows as JSON")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("argument %q: want flags only, see --help", set.Arg(0))
	}
	if f.row, err = regexp.Compile("(?i)" + pattern); err != nil {
		return f, fmt.Errorf("--row: %w", err)
	}
	return f, nil
}

// isSet tells whether a switch in the environment is on.
func isSet(value string) bool { return value != "" && value != "0" }

// wanted returns the groups with the rows that were asked for.
func (f flags) wanted(all []group) (out []group, err error) {
	var names []string
	for _, g := range all {
		names = append(names, g.name)
		if f.group != "" && f.group != g.name {
			continue
		}
		rows := slices.DeleteFunc(slices.Clone(g.rows), func(w row) bool { return !f.row.MatchString(w.fault) })
		if len(rows) > 0 {
			out = append(out, group{g.name, rows})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no such row: want a group of %s, and a --row that matches one of --list", strings.Join(names, ", "))
	}
	return out, nil
}

// run does what f asks for. ok says that every row held.
func run(ctx context.Context, f flags, out io.Writer) (ok bool, err error) {
	chosen, err := f.wanted(groups())
	if err != nil {
		return false, err
	}
	t := newTable(out)
	if f.list {
		for _, g := range chosen {
			for _, w := range g.rows {
				t.list(g.name, w)
			}
		}
		return true, nil
	}
	r, err := newRig(ctx, f, t.progress)
	if err != nil {
		return false, err
	}
	defer r.close()
	return runRows(ctx, f, r, t, chosen)
}

func runRows(ctx context.Context, f flags, r *rig, t *table, chosen []group) (ok bool, err error) {
	ok = true
	results := []result{}
	t.head()
	for _, g := range chosen {
		for _, w := range g.rows {
			t.begin(w)
			res := perform(ctx, r, g.name, w, f.allowSkip)
			r.endRow()
			if ctx.Err() != nil {
				return false, errors.New("interrupted")
			}
			ok = ok && res.OK
			results = append(results, res)
			t.row(res)
			if err := writeJSON(f.json, results); err != nil {
				return false, err
			}
		}
	}
	t.foot(results, f.json)
	return ok, nil
}

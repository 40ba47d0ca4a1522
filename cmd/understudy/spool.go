package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/spool"
)

func spoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Look at the records on disk, check them, or deliver them without a gateway",
		Long: `Look after the spool: the folder where records wait until Kafka has confirmed them.

"status" and "verify" change nothing and may run beside a gateway. "drain" is for a
gateway that will not run again, or not soon.`,
		Args: exactly(0, "status, verify or drain"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(spoolStatusCommand(), spoolVerifyCommand(), spoolDrainCommand())
	return cmd
}

// spoolFolder is the spool that --dir or --config names.
type spoolFolder struct{ dir, config string }

func (f *spoolFolder) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "the spool's `folder`")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "config `file` that names the folder in sink.spool.dir")
	_ = cmd.MarkFlagDirname("dir")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

func (f *spoolFolder) find() (string, error) {
	dir := f.dir
	switch {
	case (f.dir == "") == (f.config == ""):
		return "", errors.New("want either --dir FOLDER or --config FILE")
	case f.config != "":
		cfg, err := loadConfig(f.config)
		if err != nil {
			return "", err
		}
		if cfg.Sink == nil || cfg.Sink.Spool == nil {
			return "", fmt.Errorf("%s: sink.spool: the file configures none; records wait in memory", f.config)
		}
		dir = cfg.Sink.Spool.Dir
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no spool in %s: no gateway has run with it yet, or it is another folder", dir)
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	return dir, err
}

func spoolStatusCommand() *cobra.Command {
	folder := &spoolFolder{}
	cmd := &cobra.Command{
		Use:   "status (--dir FOLDER | --config FILE)",
		Short: "Show how much waits for Kafka, and since when",
		Long: `Show how many records wait in the spool, what they take on disk, and how old the oldest
is. It reads the folder only and may run beside a gateway, whose metrics say more.`,
		Example: `  understudy spool status --config understudy.yaml
  understudy spool status --dir /var/lib/understudy/spool -o json | jq .records`,
		Args: exactly(0, "no arguments"),
	}
	folder.bind(cmd)
	out := bindFormat(cmd)
	cmd.Flags().Lookup("output").Usage = "how to print: table for people, json for programs"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := folder.find()
		if err != nil {
			return err
		}
		st, err := spool.Status(dir, nil)
		if err != nil {
			return err
		}
		return printSpool(cmd.OutOrStdout(), dir, st, *out)
	}
	return cmd
}

// spoolStatus is what `spool status -o json` prints.
type spoolStatus struct {
	Dir      string `json:"dir"`
	Records  int    `json:"records"`
	Bytes    int64  `json:"bytes"`
	Segments int    `json:"segments"`
	// Oldest is absent where nothing waits.
	Oldest *time.Time `json:"oldest,omitempty"`
}

func printSpool(w io.Writer, dir string, st spool.Stats, out format) error {
	if out == formatJSON {
		s := spoolStatus{Dir: dir, Records: st.Records, Bytes: st.Bytes, Segments: st.Segments}
		if !st.Oldest.IsZero() {
			oldest := st.Oldest.UTC()
			s.Oldest = &oldest
		}
		return printIndented(w, s)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "spool\t%s\n", clean(dir))
	fmt.Fprintf(t, "waiting\t%s %s\n", count(int64(st.Records)), plural(st.Records, "record"))
	fmt.Fprintf(t, "on disk\t%s in %d %s\n", sizeOf(st.Bytes), st.Segments, plural(st.Segments, "segment"))
	if !st.Oldest.IsZero() {
		fmt.Fprintf(t, "oldest\t%s, %s ago\n", st.Oldest.Local().Format(time.DateTime), span(time.Since(st.Oldest)))
	}
	return t.Flush()
}

func printIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// sizeOf writes a size with three digits, such as 1.21 GiB.
func sizeOf(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	v, i := float64(n), 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return strconv.FormatInt(n, 10) + " B"
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + " " + units[i]
}

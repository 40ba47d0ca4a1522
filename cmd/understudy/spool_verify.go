package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/understudy-serving/understudy/spool"
)

func spoolVerifyCommand() *cobra.Command {
	folder := &spoolFolder{}
	cmd := &cobra.Command{
		Use:   "verify (--dir FOLDER | --config FILE)",
		Short: "Read every record and check it",
		Long: `Read every record in the spool and check it against its checksum. Nothing is changed; it
may run beside a gateway, and takes disk reads from it. The exit code is 1 where a record
is damaged: such a record is lost, those around it are not.`,
		Example: `  understudy spool verify --config understudy.yaml`,
		Args:    exactly(0, "no arguments"),
	}
	folder.bind(cmd)
	out := bindFormat(cmd)
	cmd.Flags().Lookup("output").Usage = "how to print: table for people, json for programs"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := folder.find()
		if err != nil {
			return err
		}
		segments := []segmentCheck{}
		total, err := spool.Verify(dir, nil, func(r spool.SegmentReport) {
			segments = append(segments, segmentCheck{r.Name, r.State, r.Intact, r.Corrupt, r.Waiting, r.Bytes})
		})
		if err != nil {
			return fmt.Errorf("the spool in %s can't be read: %w", dir, err)
		}
		if err := printCheck(cmd.OutOrStdout(), dir, spoolCheck{total.Intact, total.Corrupt, total.Waiting, total.Bytes, segments}, *out); err != nil {
			return err
		}
		if total.Corrupt > 0 {
			return fmt.Errorf("%s damaged %s in %s: lost, the others are intact; check the disk",
				count(int64(total.Corrupt)), plural(total.Corrupt, "record"), dir)
		}
		return nil
	}
	return cmd
}

// spoolCheck is what `spool verify -o json` prints.
type spoolCheck struct {
	Intact   int            `json:"intact"`
	Corrupt  int            `json:"corrupt"`
	Waiting  int            `json:"waiting"`
	Bytes    int64          `json:"bytes"`
	Segments []segmentCheck `json:"segments"`
}

type segmentCheck struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Intact  int    `json:"intact"`
	Corrupt int    `json:"corrupt"`
	Waiting int    `json:"waiting"`
	Bytes   int64  `json:"bytes"`
}

func printCheck(w io.Writer, dir string, c spoolCheck, out format) error {
	if out == formatJSON {
		return printIndented(w, c)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEGMENT\tSTATE\tINTACT\tDAMAGED\tWAITING\tBYTES")
	for _, s := range c.Segments {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", clean(s.Name), s.State,
			count(int64(s.Intact)), count(int64(s.Corrupt)), count(int64(s.Waiting)), count(s.Bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s %s intact, %s damaged, %s waiting for Kafka\n", clean(dir),
		count(int64(c.Intact)), plural(c.Intact, "record"), count(int64(c.Corrupt)), count(int64(c.Waiting)))
	return err
}

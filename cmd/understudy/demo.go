package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-serving/understudy/demo"
)

// onceLimit bounds a one-shot run as a whole.
const onceLimit = 2 * time.Minute

const demoHelp = `Play the whole of Understudy on this machine, with nothing else installed.

Two real models (a logistic regression and gradient-boosted trees, both trained on the
same public table) stand behind real Open Inference Protocol servers. The gateway runs
as "understudy serve" runs it, Kafka runs in this process, and clients send rows that
neither model was trained on.

  Act 1  A good challenger: rehearsed in shadow, then given 10, 25 and 50 % of the
         users, then promoted. Each step ends when its gates pass.
  Act 2  A challenger that works in shadow and breaks in canary, first by errors, then
         by hanging: the breaker trips, the champion answers in its place, the rollout
         is rolled back, and no user sees an error.
  Act 3  Two challengers that are healthy, fast and wrong, one of them for the patients of
         one clinic alone. A breaker sees nothing; a gate fails in shadow, and no user
         meets either.

Then "understudy report" reads the topic, and its page of HTML is kept: in --dir, or in the
folder for temporary files. Then the demo says what to try next (status, explain, kcat, grpcurl, curl) and goes on
with light traffic until Ctrl-C. Start with the config that it prints the path of.

With --once it ends after the report: exit code 0 if everything held, 1 if anything did not.
A machine that is too busy for 100 ms has as long as its slowest answer took.
With --output json it then prints one object on standard output:

  requests                     sent by the clients
  client_errors                of these, failed or answered wrongly
  records_expected             requests that the gateway accepted in shadow or canary
  records_on_topic             unique ids that a Kafka consumer read
  promoted, rolled_back        the ends of act 1 and act 2, by the admin RPC
  steps_passed                 of act 1, ended by a pass of all gates, by the audit log
  challenger_calls_after_trip  received by the model server over 100 ms after the trip
  rollback_ms                  from the deciding failure to the rollback in force
  user_errors_during_rollback  client errors from the first failure to the end of act 2
  vetoes                       the gates that ended act 3's rehearsals, by the audit log
  wrong_live_calls             of users, received by act 3's challengers
  wrong_answers                of theirs that users got
  wrong_disagreement           share of the first one's pairs that disagree, on the topic
  clinic_disagreement          the same of the second one, for the clinic that it is wrong for
  others_disagreement          ... and for all others
  report                       the path of the report's page`

const demoExamples = `  understudy demo
  understudy demo --step 10s --dir ./demo      # slower; keep config, state and logs
  understudy demo --once --output json`

// demoCommand is `understudy demo`.
func demoCommand() *cobra.Command {
	var o demo.Options
	var output string
	c := &cobra.Command{
		Use: "demo", Short: "Watch a challenger being promoted, and bad ones rolled back, on this machine",
		Long: demoHelp, Example: demoExamples, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := checkDemoFlags(o, output); err != nil {
				return err
			}
			return runDemo(c, o, output == "json")
		},
	}
	flags := c.Flags()
	flags.BoolVar(&o.Once, "once", false, "end after act 3; the exit code says whether everything held")
	flags.StringVarP(&output, "output", "o", "text", `"text", or with --once "json"`)
	flags.IntVar(&o.GRPCPort, "grpc-port", 0, "the gateway's port for clients; 0: 8081 if it is free, else another (with --once any free one)")
	flags.IntVar(&o.AdminPort, "admin-port", 0, "the gateway's admin port; 0: likewise 8082")
	flags.IntVar(&o.KafkaPort, "kafka-port", 0, "the Kafka broker's port; 0: likewise 9092")
	flags.DurationVar(&o.Step, "step", 0, "time at each step of the plans; 0: 5s, with --once 1.5s")
	flags.IntVar(&o.Rate, "rate", 0, "requests a second in the acts, as far as the machine keeps up; 0: 200")
	flags.StringVar(&o.Dir, "dir", "", "new or empty folder to keep config, state, logs and report in; none: a temporary one")
	return c
}

func checkDemoFlags(o demo.Options, output string) error {
	switch {
	case output != "text" && output != "json":
		return fmt.Errorf(`--output %q: want "text" or "json"`, output)
	case output == "json" && !o.Once:
		return errors.New("--output json: want --once with it, for without it the demo does not end")
	case o.Step < 0 || o.Step > time.Minute:
		return fmt.Errorf("--step %s: want 0s to 1m", o.Step)
	case o.Once && o.Step > 5*time.Second:
		return fmt.Errorf("--step %s: want at most 5s with --once, which ends within %s", o.Step, onceLimit)
	case o.Rate < 0 || o.Rate > 2000:
		return fmt.Errorf("--rate %d: want 0 to 2000", o.Rate)
	}
	for name, port := range map[string]int{"grpc-port": o.GRPCPort, "admin-port": o.AdminPort, "kafka-port": o.KafkaPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("--%s %d: want 0 to 65535", name, port)
		}
	}
	return nil
}

// runDemo plays the story on standard output, or with asJSON on standard error.
func runDemo(c *cobra.Command, o demo.Options, asJSON bool) error {
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends at once
	if o.Once {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, onceLimit, fmt.Errorf("the one-shot run is not over after %s", onceLimit))
		defer cancel()
	}
	o.Screen = demo.NewScreen(c.OutOrStdout())
	if asJSON {
		o.Screen = demo.NewScreen(c.ErrOrStderr())
	}
	o.Command = ownCommand()
	summary, err := demo.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if asJSON {
		if err := json.NewEncoder(c.OutOrStdout()).Encode(summary); err != nil {
			return err
		}
	}
	if !o.Once {
		return nil
	}
	if err := summary.Check(); err != nil {
		return fmt.Errorf("demo: not everything held:\n%w", err)
	}
	return nil
}

// ownCommand is what a user types to run this program again. `go run` deletes its
// binary at the end, so there it is `go run`.
func ownCommand() string {
	if _, err := exec.LookPath("understudy"); err == nil {
		return "understudy"
	}
	path, err := os.Executable()
	if err != nil || strings.Contains(path, "go-build") {
		return "go run ./cmd/understudy"
	}
	return path
}

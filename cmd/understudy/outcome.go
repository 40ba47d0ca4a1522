package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func outcomeCommand(conn *connection) *cobra.Command {
	var r reportedOutcome
	cmd := &cobra.Command{
		Use:   "outcome --ticket TICKET|--id ID --name NAME --value VALUE",
		Short: "Report what came of a prediction, such as a purchase or a fraud that was confirmed",
		Long: `Report an outcome: what came of a prediction, in seconds or days. Gates with the metric
outcome judge by it which arm's predictions do more good.

Each answer of the gateway names its request in the response metadata: x-understudy-ticket
is all that a report needs, and signed; x-understudy-id does for as long as outcomes.window
remembers it. Each outcome of a request counts once: the first value stands.

Programs report by the RPC understudy.admin.v1.OutcomeService/ReportOutcome, or on a Kafka
topic; this command does the same for trying and for repairs. The token may be that of a
reporter. The exit code is 0 only where the outcome was accepted.`,
		Example: `  understudy outcome --ticket AQGcqEyL… --name converted --value 1
  understudy outcome --id 019ca84c-8b7d-7a53-9f02-52c6f0a4a1de --name chargeback --value 0`,
		Args: exactly(0, "flags only"),
	}
	flags := cmd.Flags()
	flags.StringVar(&r.ticket, "ticket", "", "the `ticket` of the answer, from its metadata x-understudy-ticket")
	flags.StringVar(&r.id, "id", "", "instead of a ticket, the `id` of the answer, from its metadata x-understudy-id")
	flags.StringVar(&r.name, "name", "", "the outcome's `name`, as a gate of the model has it")
	flags.Float64Var(&r.value, "value", math.NaN(), "the outcome's `value`, a number; of an event, 1 where it came and 0 where it did not")
	out := bindFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := r.check(); err != nil {
			return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
		}
		return conn.call(cmd.Context(), func(ctx context.Context, g *gateway) error { return r.report(ctx, cmd, g, *out) })
	}
	return cmd
}

// reportedOutcome is what the command line says.
type reportedOutcome struct {
	ticket, id, name string
	value            float64
}

func (r reportedOutcome) check() error {
	switch {
	case (r.ticket == "") == (r.id == ""):
		return errors.New("want exactly one of --ticket and --id")
	case r.name == "":
		return errors.New("--name is missing: which outcome it is")
	case math.IsNaN(r.value) || math.IsInf(r.value, 0):
		return errors.New("--value is missing: want a finite number")
	}
	return nil
}

func (r reportedOutcome) report(ctx context.Context, cmd *cobra.Command, g *gateway, out format) error {
	request := &adminv1.ReportOutcomeRequest{Name: r.name, Value: r.value, Request: &adminv1.ReportOutcomeRequest_Ticket{Ticket: r.ticket}}
	if r.id != "" {
		request.Request = &adminv1.ReportOutcomeRequest_Id{Id: r.id}
	}
	res, err := g.ReportOutcome(ctx, request)
	if err != nil {
		return err
	}
	if out == formatJSON {
		err = printJSON(cmd.OutOrStdout(), res)
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), clean(r.word(res.Result)))
	}
	if err == nil && res.Result != adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED {
		err = &exitError{code: exitFailed, err: errors.New("not accepted"), said: true}
	}
	return err
}

// word says what a result means.
func (r reportedOutcome) word(result adminv1.OutcomeResult) string {
	switch result {
	case adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED:
		return fmt.Sprintf("accepted: %s %v is stored", r.name, r.value)
	case adminv1.OutcomeResult_OUTCOME_RESULT_DUPLICATE:
		return fmt.Sprintf("duplicate: %s was reported for this request before, and the first value stands", r.name)
	case adminv1.OutcomeResult_OUTCOME_RESULT_EXPIRED:
		return fmt.Sprintf("expired: it came later after its request than %s counts; the gate's horizon and outcomes.window say how late it may come", r.name)
	case adminv1.OutcomeResult_OUTCOME_RESULT_UNMATCHED:
		return "unmatched: the gateway does not know this id, or no more; with the ticket it would not have to"
	}
	return "the gateway is newer than this command, and says " + result.String()
}

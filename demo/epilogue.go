package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/understudy-serving/understudy/demo/modelserver"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// lightRate is the requests a second to each model after the acts.
const lightRate = 10

// epilogue says what to try next and keeps the house open, with light traffic, until
// the context ends.
func (s *story) epilogue(ctx context.Context) error {
	s.arms[act2Model].challenger.SetFault(modelserver.Healthy())
	s.Screen.Say(s.tryNext()...)
	first, stopFirst := s.traffic(act1Model, lightRate, 1000)
	defer stopFirst()
	second, stopSecond := s.traffic(act2Model, lightRate, 1000)
	defer stopSecond()
	err := s.watch(ctx, first, second)
	s.Screen.Leave()
	s.Screen.Say("", "  The curtain falls: no new requests; those in flight get their answers, and Kafka its records.")
	stopFirst()
	stopSecond()
	a, b := first.figures(), second.figures()
	s.Screen.Say(fmt.Sprintf("  Since the end of act 3: %s requests, %s errors.", count(a.Requests+b.Requests), count(a.Errors+b.Errors)), "")
	return err
}

// watch shows both models until ctx ends. It ends with an error only if the house
// does not hold.
func (s *story) watch(ctx context.Context, both ...*clients) error {
	tick := time.NewTicker(5 * look)
	defer tick.Stop()
	for {
		var lines []string
		var short string
		for _, c := range both {
			r, err := s.operator.rollout(ctx, c.model)
			if ctx.Err() == nil && err != nil {
				return err
			}
			if err == nil {
				s.tell(r)
				lines = append(lines, s.glance(r, c))
				short += s.glance(r, c)
			}
		}
		if len(lines) == len(both) && ctx.Err() == nil {
			kafka := fmt.Sprintf("  Kafka          %s records on the topic", count(s.reader.count()))
			s.Screen.Show(append([]string{""}, append(lines, kafka)...), short, time.Minute)
			s.reader.forget()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); errors.Is(cause, errGatewayEnded) {
				return cause
			}
			return nil
		}
	}
}

// glance is a model in one line.
func (s *story) glance(r *adminv1.Rollout, c *clients) string {
	f := c.figures()
	return fmt.Sprintf("  %-14s %s  %s · %s requests · %s errors · p99 %s", r.GetModel(), bar(weight(r)), modeName(r), count(f.Requests), count(f.Errors), milliseconds(f.P99))
}

// tryNext lists commands that work as they stand.
func (s *story) tryNext() []string {
	data, admin, kafka := s.gateway.grpcAddr(), s.gateway.adminAddr(), s.broker.addr()
	url := "http://" + admin
	return []string{
		s.Screen.Bold("Try next") + ", in another terminal, while light traffic goes on:",
		"",
		"  " + s.Command + " status --admin " + url,
		"  " + s.Command + " watch --admin " + url,
		"",
		"  # what the gates know of act 3's challengers",
		"  " + s.Command + " explain " + act3aModel + " --admin " + url,
		"  " + s.Command + " explain " + act3bModel + " --admin " + url,
		"",
		"  # what the records say so far; -o html for a page, -o json for programs",
		"  " + s.Command + " report --config " + s.configPath + " --model " + act3bModel,
		"",
		"  # act 2's challenger is mended by now: rehearse it again, and see it go through in about a minute",
		"  " + s.Command + " retry " + act2Model + " --admin " + url + ` --reason "its server is mended"`,
		"  " + s.Command + " explain " + act2Model + " --admin " + url,
		"",
		"  # the last records of each partition: the gateway's id, and the CloudEvents headers",
		"  kcat -C -b " + kafka + " -t " + topic + ` -o -2 -e -q -f '%k  %h\n'`,
		"",
		"  # the admin RPC, by grpcurl and by curl; and what a model takes and gives",
		"  grpcurl -plaintext -d '{}' " + admin + " understudy.admin.v1.RolloutService/ListRollouts",
		"  curl -s " + url + "/understudy.admin.v1.RolloutService/ListRollouts -H 'content-type: application/json' -d '{}'",
		"  grpcurl -plaintext -d '{\"name\": \"" + act1Model + "\"}' " + data + " inference.GRPCInferenceService/ModelMetadata",
		"",
		"  # the metrics, and the config that the gateway runs",
		"  curl -s " + url + "/metrics | grep ^understudy_",
		"  cat " + s.configPath,
		"",
		"  Ctrl-C ends it.",
	}
}

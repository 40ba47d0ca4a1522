package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	kafkago "github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/understudy-serving/understudy/kafkatest"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

func byTicket(r reply, value float64) *adminv1.ReportOutcomeRequest {
	return &adminv1.ReportOutcomeRequest{Request: &adminv1.ReportOutcomeRequest_Ticket{Ticket: r.ticket}, Name: "converted", Value: value}
}

func byID(r reply, value float64) *adminv1.ReportOutcomeRequest {
	return &adminv1.ReportOutcomeRequest{Request: &adminv1.ReportOutcomeRequest_Id{Id: r.id}, Name: "converted", Value: value}
}

// report sends one by RPC.
func (th *theatre) report(r *adminv1.ReportOutcomeRequest) adminv1.OutcomeResult {
	th.t.Helper()
	resp, err := th.desk.ReportOutcome(context.Background(), r)
	if err != nil {
		th.t.Fatal(err)
	}
	return resp.Result
}

// publish sends some by Kafka.
func (th *theatre) publish(topic string, reports []*adminv1.ReportOutcomeRequest) {
	th.t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafkago.Writer{Addr: kafkago.TCP(th.play.Brokers...), Topic: topic, BatchTimeout: 10 * time.Millisecond, Transport: transport}
	defer w.Close()
	var all []kafkago.Message
	for _, r := range reports {
		text, err := protojson.Marshal(r)
		if err != nil {
			th.t.Fatal(err)
		}
		all = append(all, kafkago.Message{Value: text})
	}
	if err := w.WriteMessages(context.Background(), all...); err != nil {
		th.t.Fatal(err)
	}
}

// openWithOutcomes has a gate on conversions whose requests count after the horizon.
func openWithOutcomes(t *testing.T, gate, horizon string) (th *theatre, topic string) {
	brokers := kafka.Brokers(t)
	topic = kafkatest.Topic(t, brokers, 2, nil)
	th = open(t, brokers, func(p *play) {
		p.Gates = fmt.Sprintf("[{metric: error-rate, allowedIncrease: 5pp, horizon: 500ms}, {metric: outcome, outcome: converted, horizon: %s, %s}]", horizon, gate)
		p.Outcomes = fmt.Sprintf("{dir: %q, window: 1h, kafka: {brokers: [%q], topic: %s}}", p.Dir+"/outcomes", brokers[0], topic)
		p.Timeout, p.MaxInFlight, p.MirrorCap = "5s", 64, 256
	})
	th.copyChampion()
	th.canary(50)
	return th, topic
}

// converts tells whether the n-th request leads to a conversion: of percent in a hundred.
func converts(n, percent int) bool { return n*37%100 < percent }

// One that answers well and agrees, but whose users convert less, is rolled back by its
// outcome gate and by nothing else.
func TestAChallengerThatConvertsWorse(t *testing.T) {
	th, topic := openWithOutcomes(t, "allowedDecrease: 5pp", "6s")
	replies := th.mustServe(0, 900)
	var later []*adminv1.ReportOutcomeRequest
	for i, r := range replies {
		percent := map[string]int{"1": 50, "2": 10}[r.version]
		switch {
		case !converts(i, percent):
		case i%3 == 0:
			th.report(byTicket(r, 1))
		case i%3 == 1:
			th.report(byID(r, 1))
		default:
			later = append(later, byTicket(r, 1))
		}
	}
	th.publish(topic, later)
	th.eventually("a rollback", func() bool { return th.rollout().Mode == rolledBack })
	e := th.rollout().Events[0]
	if e.Actor != "gate" || !strings.HasPrefix(e.Reason, "gate outcome(converted): ") || !strings.Contains(e.Reason, "allowed is up to 5pp less: shown to be worse") {
		t.Errorf("by %s: %s", e.Actor, e.Reason)
	}
}

// Each outcome counts once, whichever way it comes and however often: early, late, for a
// request that nobody knows, under a ticket that somebody made up.
func TestOutcomesCountOnce(t *testing.T) {
	th, topic := openWithOutcomes(t, "allowedDecrease: 5pp, minRequests: 1000000", "5s")
	replies := th.mustServe(0, 400)
	want := map[string]int64{}
	var again []*adminv1.ReportOutcomeRequest
	for i, r := range replies[:300] {
		if !converts(i, 30) {
			continue
		}
		want[r.version]++
		first, second := byTicket(r, 1), byID(r, 0)
		if i%2 == 0 {
			first, second = byID(r, 1), byTicket(r, 0)
		}
		if got := th.report(first); got != adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED {
			t.Fatalf("first report: %v", got)
		}
		if got := th.report(second); got != adminv1.OutcomeResult_OUTCOME_RESULT_DUPLICATE {
			t.Fatalf("second report: %v", got)
		}
		again = append(again, first)
	}
	for i, r := range replies[300:350] { // by the topic alone, and twice
		if i%2 == 0 {
			want[r.version]++
			again = append(again, byTicket(r, 1), byID(r, 1))
		}
	}
	th.publish(topic, again)
	th.refuses(replies[399])
	time.Sleep(6 * time.Second)
	if got := th.report(byTicket(replies[380], 1)); got != adminv1.OutcomeResult_OUTCOME_RESULT_EXPIRED {
		t.Errorf("a late report: %v", got)
	}
	th.wantsConversions(want, 400)
	n := float64(want["1"] + want["2"])
	th.eventually("all of the topic to be read", func() bool { return th.metric("understudy_outcomes_total", `result="duplicate"`) >= n })
	if accepted := th.metric("understudy_outcomes_total", `result="accepted"`); accepted != n {
		t.Errorf("%v accepted, want %v", accepted, n)
	}
}

// refuses sends what is no outcome of a request.
func (th *theatre) refuses(r reply) {
	th.t.Helper()
	nobody := byID(r, 1)
	nobody.Request = &adminv1.ReportOutcomeRequest_Id{Id: "01890a5d-ac96-774b-bcce-b302099a8057"}
	if got := th.report(nobody); got != adminv1.OutcomeResult_OUTCOME_RESULT_UNMATCHED && got != adminv1.OutcomeResult_OUTCOME_RESULT_EXPIRED {
		th.t.Errorf("an unknown id: %v", got)
	}
	forged := byTicket(r, 1)
	middle := len(r.ticket) / 2
	flipped := "A"
	if r.ticket[middle] == 'A' {
		flipped = "B"
	}
	forged.Request = &adminv1.ReportOutcomeRequest_Ticket{Ticket: r.ticket[:middle] + flipped + r.ticket[middle+1:]}
	unknown := byTicket(r, 1)
	unknown.Name = "clicked"
	for name, report := range map[string]*adminv1.ReportOutcomeRequest{"ticket": forged, "converted": unknown} {
		_, err := th.desk.ReportOutcome(context.Background(), report)
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), name) {
			th.t.Errorf("%s: %v", name, err)
		}
	}
	if th.metric("understudy_outcomes_total", `result="forged"`) != 1 {
		th.t.Error("the forged ticket is not counted")
	}
}

// wantsConversions waits until all n requests count, and checks them by version.
func (th *theatre) wantsConversions(want map[string]int64, n int64) {
	th.t.Helper()
	var c *adminv1.GateCounts
	th.eventually("all requests to count", func() bool {
		explained, err := th.admin.Explain(context.Background(), &adminv1.ExplainRequest{Model: "risk"})
		if err != nil {
			th.t.Fatal(err)
		}
		for _, g := range explained.GetJudgement().GetGates() {
			if g.GetGate().GetName() == "outcome(converted)" {
				c = g.GetCounts()
			}
		}
		return c.GetChampion()+c.GetChallenger() == n
	})
	if c.GetChampionBad() != want["1"] || c.GetChallengerBad() != want["2"] {
		th.t.Errorf("%d of the champion's requests converted and %d of the challenger's, want %d and %d",
			c.GetChampionBad(), c.GetChallengerBad(), want["1"], want["2"])
	}
}

// What was acknowledged counts, once, though the process was killed at once and had not
// stored that it read it.
func TestAcknowledgedOutcomesOutliveAKill(t *testing.T) {
	p := spawnOn(t, stub(t), func(p *play) {
		p.Gates = "[{metric: outcome, outcome: converted, horizon: 12s, allowedDecrease: 5pp, minRequests: 1000000}]"
		p.Outcomes = fmt.Sprintf("{dir: %q, window: 1h}", p.Dir+"/outcomes")
		p.Timeout, p.MaxInFlight, p.MirrorCap = "5s", 64, 256
	})
	p.awaitReady()
	p.copyChampion()
	p.canary(50)
	replies := p.mustServe(1, 200)
	time.Sleep(6 * time.Second) // evidence is stored each 5 s
	want := map[string]int64{}
	for i, r := range replies {
		if converts(i, 30) {
			want[r.version]++
			if got := p.report(byTicket(r, 1)); got != adminv1.OutcomeResult_OUTCOME_RESULT_ACCEPTED {
				t.Fatalf("report: %v", got)
			}
		}
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	p.run()
	p.awaitReady()
	for i, r := range replies {
		if converts(i, 30) {
			if got := p.report(byID(r, 0)); got != adminv1.OutcomeResult_OUTCOME_RESULT_DUPLICATE {
				t.Fatalf("reported again after the kill: %v", got)
			}
		}
	}
	var c *adminv1.GateCounts
	p.eventually("the requests to count", func() bool {
		explained, err := p.admin.Explain(context.Background(), &adminv1.ExplainRequest{Model: "risk"})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range explained.GetJudgement().GetGates() { // none before the first look
			c = g.GetCounts()
		}
		return c.GetChampion()+c.GetChallenger() >= 200-5 // two keys may share a bit
	})
	if c.GetChampionBad() > want["1"] || c.GetChampionBad() < want["1"]-5 || c.GetChallengerBad() > want["2"] || c.GetChallengerBad() < want["2"]-5 {
		t.Errorf("%d and %d conversions, want %d and %d", c.GetChampionBad(), c.GetChallengerBad(), want["1"], want["2"])
	}
}

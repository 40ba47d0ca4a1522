package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/kafkatest"
)

// spooled puts the spool into the theatre's folder.
func spooled(settings string) func(*play) {
	return func(p *play) {
		p.Spool = fmt.Sprintf("{dir: %q%s}", filepath.Join(p.Dir, "spool"), settings)
	}
}

// answers are the ids that clients were given, and when.
type answers struct {
	mu sync.Mutex
	at map[string]time.Time
}

// keepAsking sends requests from some workers until stop; failures are not counted,
// for the gateway is killed meanwhile.
func (p *process) keepAsking(a *answers, stop <-chan struct{}) *sync.WaitGroup {
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for n := w; ; n += 8 {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				r := p.infer(ctx, n)
				cancel()
				if r.err != nil {
					time.Sleep(5 * time.Millisecond) // a dead gateway needs no hammering
					continue
				}
				a.mu.Lock()
				a.at[r.id] = time.Now()
				a.mu.Unlock()
			}
		})
	}
	return &workers
}

// A gateway that is killed in the middle of its traffic has spooled what it answered:
// the next one delivers it.
func TestKilledGatewayLosesNoRecord(t *testing.T) {
	brokers := map[string]func(*testing.T) []string{
		"stand-in":     stub,
		"Apache Kafka": func(t *testing.T) []string { return kafka.Brokers(t) },
	}
	for name, start := range brokers {
		t.Run(name, func(t *testing.T) {
			p := spawnOn(t, start(t), spooled(""))
			p.awaitReady()
			given, kills := &answers{at: map[string]time.Time{}}, []time.Time{}
			stop := make(chan struct{})
			workers := p.keepAsking(given, stop)
			for range 3 {
				time.Sleep(700 * time.Millisecond) // of traffic
				kills = append(kills, time.Now())
				if err := p.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = p.cmd.Wait()
				p.run()
				p.awaitReady()
			}
			close(stop)
			workers.Wait()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := p.cmd.Wait(); err != nil {
				t.Fatalf("SIGTERM: %v\n%s", err, p.log.String())
			}
			on := map[string]bool{}
			all := kafkatest.All(t, p.play.Brokers, p.play.Topic, patience)
			for _, m := range all {
				on[string(m.Key)] = true
			}
			lost, doubtful := 0, 0
			for id, at := range given.at {
				switch {
				case on[id]:
				case justBefore(at, kills):
					doubtful++
				default:
					lost++
				}
			}
			t.Logf("%d answers, %d messages of %d ids; %d answers in the last 250 ms before a kill have no record",
				len(given.at), len(all), len(on), doubtful)
			if lost > 0 || len(given.at) < 100 {
				t.Errorf("%d of %d answered requests have no record", lost, len(given.at))
			}
		})
	}
}

// justBefore tells whether an answer came less than 250 ms before a kill: its record
// may not have been made yet.
func justBefore(at time.Time, kills []time.Time) bool {
	for _, k := range kills {
		if d := k.Sub(at); d > -250*time.Millisecond && d < 250*time.Millisecond {
			return true
		}
	}
	return false
}

// With Kafka away for a whole run nobody notices, the process ends in time, and the
// next one delivers everything.
func TestKafkaAwayForAWholeRun(t *testing.T) {
	const n = 500
	brokers := stub(t)
	th := open(t, brokers, func(p *play) {
		spooled("")(p)
		p.MirrorCap, p.Brokers = n, []string{freeAddr(t)}
	})
	sent := th.mustServe(0, n)
	th.eventually("all records are on disk", func() bool { return th.metric("understudy_records_spooled") == n })
	if up, durable := th.metric("understudy_sink_kafka_up"), th.metric("understudy_sink_spool_durable"); up != 0 || durable != 1 {
		t.Errorf("kafka_up %v, spool_durable %v", up, durable)
	}
	began := time.Now()
	if err := th.stop(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the end took %s", took)
	}
	th.play.Brokers = brokers
	th.start()
	th.eventually("delivery", func() bool { return th.metric("understudy_records_delivered_total") == n })
	if got := th.metric("understudy_records_recovered_total"); got != n {
		t.Errorf("%v records recovered, want %d", got, n)
	}
	records := th.records()
	for _, r := range sent {
		if records[r.id] == nil {
			t.Errorf("%s has no record", r.id)
		}
	}
}

// A spool that is full drops records and counts them; clients notice nothing, and what
// is in it is delivered.
func TestSpoolFullUnderTraffic(t *testing.T) {
	const n = 3000
	for _, full := range []string{"dropNewest", "dropOldest"} {
		t.Run(full, func(t *testing.T) {
			brokers := stub(t)
			th := open(t, brokers, func(p *play) {
				spooled(", maxBytes: 1MiB, full: " + full)(p)
				p.MirrorCap, p.MaxRecord, p.Brokers = n, "100KB", []string{freeAddr(t)}
			})
			th.mustServe(0, n)
			th.eventually("all are accounted for", func() bool {
				return th.metric("understudy_records_spooled")+th.metric("understudy_records_dropped_total") == n &&
					th.metric("understudy_records_in_flight") == 0
			})
			kept, dropped := th.metric("understudy_records_spooled"), th.metric("understudy_records_dropped_total", `reason="spool_full"`)
			if dropped == 0 || kept+dropped != n || th.metric("understudy_sink_spooled_bytes") > 1<<20 {
				t.Errorf("%v spooled, %v dropped as spool_full, of %d", kept, dropped, n)
			}
			if err := th.stop(); err != nil {
				t.Errorf("the gateway ended with %v", err)
			}
			th.play.Brokers = brokers
			th.start()
			th.eventually("delivery", func() bool { return th.metric("understudy_records_delivered_total") == kept })
			if got := len(th.records()); float64(got) != kept {
				t.Errorf("%d records on the topic, %v were spooled", got, kept)
			}
		})
	}
}

// Faults breaks things around a running gateway and measures what it promises then.
//
//	make faults                    every group
//	GROUP=sink QUICK=1 make faults one group, each row shortened
//	go run ./faults --list         the rows there are
//	go run ./faults --row killed   those whose fault matches
//
// The gateway is a process of its own, built from ./cmd/understudy. Kafka is a real
// Apache Kafka, always the harness's own (see kafkatest: it takes Java and Maven), for
// it is killed, stopped and cut off. The topic is counted by a consumer of the harness,
// against the list of ids that its clients keep. A row
// is one fault: what must hold, what was measured, and whether it held. The rows also
// stand in build/faults.json. The exit code is 1 where one did not hold or was skipped.
//
// A claim about latency is a ratio between gateways that share the run: one under the
// fault and two that are not, each request going to one of the three at random. It
// counts where the two healthy ones agree; else it is undecided, and run again.
//
// A new row is an entry in a group's list; a new group is an entry in groups.
package main

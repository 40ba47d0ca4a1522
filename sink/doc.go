// Package sink turns exchanges into records on a Kafka topic, without ever making
// the data path wait.
//
// It has three layers, each with a goroutine of its own and a bound of its own:
//
//   - the intake: Record puts an exchange into a queue bounded in count and bytes,
//     or drops it; the encoder takes it out, makes it a record (an
//     understudy.record.v1.Prediction on the wire, payloads spliced in as they were
//     received or without what the model's policy leaves out), frees the payloads,
//     and appends what has piled up as one batch;
//   - the Spool: records wait there, oldest first, on disk or in memory, until Kafka
//     has confirmed them;
//   - the sender: it reads a window of the oldest records, produces them with
//     acks=all, keeps trying what can heal, puts aside what can't, and trims what is
//     settled. Each key has one record, so that retries can't change a key's order.
//
// One ledger counts every record once through all of that; see Counts.
//
// Whatever a client or a model server sends, each record on the topic decodes:
// payloads are checked as they are spliced in, and one that a consumer could not
// decode is replaced by a digest, as is one that is too large for the topic.
package sink

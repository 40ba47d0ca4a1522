// Package report compares the predictions of logged records, after the fact, with the
// comparison and the gates that judged them live.
//
// A Tally takes the messages of one partition in and keeps sums: its memory does not grow
// with the topic. Tallies merge by addition. Run reads a Source, one goroutine a
// partition, and saves tallies together with the offsets that they stand for, so that a
// report that was killed goes on and counts each record once. Summarize makes a Result of
// a tally, which prints as a table, as JSON and as a page of HTML.
package report

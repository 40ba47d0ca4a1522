package config

import (
	"slices"
	"time"
)

// spoolDir is where the spool is unless the file says otherwise.
const spoolDir = "/var/lib/understudy/spool"

// spool reads the disk queue. Without the key there is none.
func (d *document) spool(sink object, s *Sink) {
	o, ok := sink.section("spool", keys{
		known: []string{"dir", "maxBytes", "fsync", "interval", "full"},
		hints: map[string]string{
			"path":        "the spool's folder is called dir",
			"memoryBytes": "sink.maxQueueBytes bounds what waits in memory",
		},
	})
	if !ok {
		return
	}
	s.Spool = &Spool{Dir: spoolDir, MaxBytes: 10 << 30, Fsync: "interval", Interval: 100 * time.Millisecond, Full: "dropNewest"}
	o.string("dir", &s.Spool.Dir, "the path of a folder")
	size(o, "maxBytes", &s.Spool.MaxBytes, 1<<20, mostBytes)
	o.choice("fsync", &s.Spool.Fsync, []string{"interval", "always", "never"}, nil)
	o.duration("interval", &s.Spool.Interval, leastTime, time.Minute)
	if n, ok := o.fields["interval"]; ok && s.Spool.Fsync != "interval" {
		n.fail("is for fsync: interval; remove it, or set that")
	}
	o.choice("full", &s.Spool.Full, []string{"dropNewest", "dropOldest"}, nil)
}

// spoolRecords is how many of the largest records a spool must have room for. It
// takes none that is larger than a quarter of what its segments may take.
const spoolRecords = 8

// maxSpooledRecord is the largest record that any spool takes.
const maxSpooledRecord = 64<<20 - 1<<10

// checkSink holds the bounds of the sink against each other.
func (d *document) checkSink(root object, c *Config) {
	s := c.Sink
	if s == nil {
		return
	}
	records := slices.ContainsFunc(c.Models, func(m Model) bool { return m.Challenger != nil })
	at, record := root.fields["sink"], s.Kafka.MaxRecordBytes
	if s.MaxQueueBytes < record {
		at.fail("maxQueueBytes, %s, is less than kafka.maxRecordBytes, %s: such a record would always be dropped; raise the one or lower the other",
			formatSize(s.MaxQueueBytes), formatSize(record))
	}
	switch {
	case s.Spool == nil && !records:
	case s.Spool == nil:
		d.warn(at.line(), "sink.spool", "none: records that Kafka has not confirmed wait in memory and end with the process; add `spool: {dir: %s}` to keep them", spoolDir)
	case record > maxSpooledRecord:
		at.fail("kafka.maxRecordBytes, %s, is more than a spool takes, %s; lower it, or remove the spool", formatSize(record), formatSize(maxSpooledRecord))
	case s.Spool.MaxBytes < spoolRecords*record:
		at.fail("spool.maxBytes, %s, is less than %d times kafka.maxRecordBytes, %s: the largest records would not fit; raise the one or lower the other",
			formatSize(s.Spool.MaxBytes), spoolRecords, formatSize(record))
	}
}

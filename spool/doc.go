// Package spool keeps opaque records between a producer and a consumer, oldest first,
// until the consumer says that it is done with them: on disk, bounded and across
// crashes (Disk), or in memory (Memory).
//
// A Disk is a folder of segments. A segment's state is its file name, changed by
// rename:
//
//	<first>-<generation>-<nonce>.open        is being written
//	<first>-<generation>-<nonce>-<end>.full  holds the positions from first up to, but without, end
//	<first>-<generation>-<nonce>-<end>.done  the same, and no fsync is owed to it
//
// So counting a backlog takes one look into the folder; only .open segments, of which a
// crash leaves one or a few, are read at the start. Nothing but the name describes a
// segment: every byte inside belongs to a record, and a damaged byte costs that one.
// A name of a higher generation, or one that begins inside an older segment, takes
// the place of what it covers.
//
// A record is framed by a marker, its length, position and time, a checksum of its
// bytes and one over that header, which the segment's nonce seeds. So a reader that has
// lost its way looks for the next marker whose header checks, and neither a marker
// inside a record nor what a recycled disk block shows of an earlier segment fools it.
//
// Positions rise within a segment without gaps. They are never used twice in a folder:
// every Open begins far behind all that is known. A record that was written and is
// missing, or damaged, is handed out empty, so that its loss is counted once.
//
// See docs/durability.md for what each mode of fsync guarantees.
package spool

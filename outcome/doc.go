// Package outcome joins what is reported of a prediction, maybe hours later, to the request
// that it came of.
//
// Each answer leaves with a ticket: all that a report needs to count, signed, so that
// nothing has to be looked up when it comes back (ticket.go). For clients that kept only
// the gateway's id, the desk remembers tickets by id (desk.go).
//
// One goroutine writes, and gathers what waits into one transaction of one file
// (writer.go, layout.go): what is reported, so that a second report of the same outcome is
// known as such, and the log of what was accepted, which the gates read from where they
// stood. Whole hours leave the file when they are older than the window, or when it is
// full (tidy.go).
package outcome

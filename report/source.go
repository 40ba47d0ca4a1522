package report

import (
	"context"
	"errors"
)

// Part is one partition of a source, from its next message to its end.
type Part struct {
	ID int
	// Next is the offset of the first message to be read, End the one behind the last.
	Next, End int64
}

// Source has messages in partitions.
type Source interface {
	// Parts returns the partitions with what each holds now. A report that goes on reads
	// from its own offsets.
	Parts(ctx context.Context) ([]Part, error)
	// Read calls do for the messages of a partition in order, until its End; where follow is
	// set, until ctx ends. after is the offset behind the message, which may leave a gap to
	// it. An error of do ends it.
	Read(ctx context.Context, p Part, follow bool, do func(m *Message) error) error
}

// ErrRemoved says that messages are gone from the topic before they were read.
var ErrRemoved = errors.New("messages were removed before they were read")

// ErrOtherTopic says that the state is not of this topic.
var ErrOtherTopic = errors.New("the state is of another topic")

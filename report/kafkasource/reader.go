package kafkasource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/understudy-serving/understudy/report"
)

// errStopped carries an error of whoever takes the messages.
var errStopped = errors.New("stopped")

type stopped struct{ error }

func (s stopped) Unwrap() error        { return s.error }
func (s stopped) Is(target error) bool { return target == errStopped }

// reader reads one partition; its part's Next moves on.
type reader struct {
	topic  *Topic
	part   report.Part
	follow bool
	do     func(m *report.Message) error
}

func (r *reader) done() bool { return !r.follow && r.part.Next >= r.part.End }

// connected reads on one connection until that fails, or all is read.
func (r *reader) connected(ctx context.Context) error {
	conn, err := r.topic.dial(ctx, r.part.ID)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // it ends a read that waits
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(requestTimeout)); err != nil {
		return err
	}
	first, _, err := conn.ReadOffsets()
	if err != nil {
		return err
	}
	r.part.Next = max(r.part.Next, first) // what was removed in the meantime is gone
	if _, err := conn.Seek(r.part.Next, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	for ctx.Err() == nil && !r.done() {
		if err := r.batch(conn); err != nil {
			return err
		}
	}
	return nil
}

// batch reads what one fetch brings.
func (r *reader) batch(conn *kafka.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		return err
	}
	b := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait})
	err := r.messages(conn, b)
	if closed := b.Close(); err == nil {
		err = closed
	}
	if next, _ := conn.Offset(); err == nil {
		r.part.Next = max(r.part.Next, next) // behind gaps, too
	}
	if errors.Is(err, kafka.RequestTimedOut) { // there was nothing to be had
		return nil
	}
	return err
}

func (r *reader) messages(conn *kafka.Conn, b *kafka.Batch) error {
	for !r.done() {
		m, err := b.ReadMessage()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("offset %d: %w", r.part.Next, err)
		case m.Offset < r.part.Next:
			continue
		case !r.follow && m.Offset >= r.part.End:
			r.part.Next = r.part.End
			return nil
		}
		if err := r.do(messageOf(&m)); err != nil {
			return stopped{err}
		}
		r.part.Next = m.Offset + 1
		if m.Offset%1000 == 0 {
			_ = conn.SetReadDeadline(time.Now().Add(readTimeout)) // the next read tells
		}
	}
	return nil
}

func messageOf(m *kafka.Message) *report.Message {
	out := &report.Message{Offset: m.Offset, Next: m.Offset + 1, Value: m.Value}
	for i := range m.Headers {
		switch m.Headers[i].Key {
		case "ce_type":
			out.Type = string(m.Headers[i].Value)
		case "content-type":
			out.ContentType = string(m.Headers[i].Value)
		}
	}
	return out
}

package report

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// File is a Source of one partition: records one after another, each
//
//   - protobuf behind its length as a varint, as protobuf's libraries write delimited messages,
//   - protobuf behind its length in four bytes, big-endian, as `kcat -f '%R%s'` writes, or
//   - JSON on a line of its own, as `kcat -f '%s\n'` writes a topic with JSON.
//
// The first bytes tell which. Offsets are bytes from the beginning.
type File struct {
	// Size is the file's; 0 where nobody knows.
	Size int64
	in   *bufio.Reader
	at   int64
}

// mostEntry bounds an entry of a file: the largest record that the gateway makes.
const mostEntry = 256 << 20

// ErrDamaged says that a file goes on with something that is no entry.
var ErrDamaged = errors.New("damaged file")

// NewFile reads records from in.
func NewFile(in io.Reader, size int64) *File {
	return &File{Size: size, in: bufio.NewReaderSize(in, 1<<20)}
}

// Parts implements Source.
func (f *File) Parts(context.Context) ([]Part, error) {
	end := f.Size
	if end == 0 {
		end = math.MaxInt64
	}
	return []Part{{End: end}}, nil
}

// Read implements Source; a file is read once.
func (f *File) Read(ctx context.Context, _ Part, _ bool, do func(m *Message) error) error {
	entry := f.form()
	for ctx.Err() == nil {
		m := Message{Offset: f.at}
		value, err := entry()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("byte %d: %w", m.Offset, err)
		}
		m.Value, m.Next = value, f.at
		if err := do(&m); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// form finds out how the entries are written, by the first two bytes: JSON begins `{"`. So
// does no record, whose first field is its id; and no record is so short that its length in
// four bytes begins otherwise than with a 0.
func (f *File) form() func() ([]byte, error) {
	first, _ := f.in.Peek(2) // what is wrong shows when it is read
	switch {
	case bytes.HasPrefix(first, []byte(`{"`)), bytes.HasPrefix(first, []byte("{ ")):
		return f.line
	case len(first) > 0 && first[0] == 0:
		return f.framed
	}
	return f.delimited
}

// line returns a line without its end; lines that are empty are passed over.
func (f *File) line() ([]byte, error) {
	var line []byte
	for {
		b, err := f.in.ReadSlice('\n')
		f.at += int64(len(b))
		line = append(line, b...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(line) <= mostEntry:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrDamaged, mostEntry)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (f *File) framed() ([]byte, error) {
	var head [4]byte
	n, err := io.ReadFull(f.in, head[:])
	f.at += int64(n)
	if err != nil {
		return nil, endIn(err)
	}
	return f.take(uint64(binary.BigEndian.Uint32(head[:])))
}

func (f *File) delimited() ([]byte, error) {
	size, err := binary.ReadUvarint(countingByteReader{f})
	if err != nil {
		return nil, endIn(err)
	}
	return f.take(size)
}

// endIn lets the end of the file be one only between entries.
func endIn(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// take reads an entry's bytes. Memory grows with what is there, not with what is announced.
func (f *File) take(size uint64) ([]byte, error) {
	if size > mostEntry {
		return nil, fmt.Errorf("%w: an entry of %d bytes", ErrDamaged, size)
	}
	var b bytes.Buffer
	n, err := io.CopyN(&b, f.in, int64(size))
	f.at += n
	if err != nil {
		return nil, fmt.Errorf("%w: %w in an entry of %d bytes", ErrDamaged, io.ErrUnexpectedEOF, size)
	}
	return b.Bytes(), nil
}

type countingByteReader struct{ f *File }

func (c countingByteReader) ReadByte() (byte, error) {
	b, err := c.f.in.ReadByte()
	if err == nil {
		c.f.at++
	}
	return b, err
}

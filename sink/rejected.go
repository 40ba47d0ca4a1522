package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// rejectedBytes bounds the folder of rejected records.
const rejectedBytes = 64 << 20

// errRejectedFull says that the bound is reached.
var errRejectedFull = errors.New("the folder of rejected records is full: look at them and remove the files")

// rejects keeps records that no broker takes in a folder, in one file a day. It serves
// one goroutine.
type rejects struct {
	dir      string
	maxBytes int64
	clock    func() time.Time
}

// rejected is one line of a file.
type rejected struct {
	At     time.Time `json:"at"`
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	// Record is the understudy.record.v1.Prediction, in base64.
	Record []byte `json:"record"`
}

// newRejects returns nil where there is no folder.
func newRejects(dir string, clock func() time.Time) *rejects {
	if dir == "" {
		return nil
	}
	return &rejects{dir: dir, maxBytes: rejectedBytes, clock: clock}
}

// keep appends a record to the day's file, durably, and returns the file's name.
func (r *rejects) keep(id string, why error, record []byte) (file string, err error) {
	now := r.clock().UTC()
	line, err := json.Marshal(rejected{At: now, ID: id, Reason: clip(why.Error()), Record: record})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return "", err
	}
	held, err := r.held()
	if err != nil {
		return "", err
	}
	if held+int64(len(line))+1 > r.maxBytes {
		return "", fmt.Errorf("%w: %s", errRejectedFull, r.dir)
	}
	file = filepath.Join(r.dir, now.Format(time.DateOnly)+".jsonl")
	return file, appendLine(file, append(line, '\n'))
}

// held sums the files, which the operator may remove at any time.
func (r *rejects) held() (bytes int64, err error) {
	entries, err := os.ReadDir(r.dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes, err
}

// appendLine appends line to the file, or nothing.
func appendLine(file string, line []byte) (err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(line, info.Size()); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return nil
}

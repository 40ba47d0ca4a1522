package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// State is a folder that keeps what a run has counted together with the offsets that it
// stands for, in one file that is replaced as a whole: a run that is killed at any moment
// leaves the one or the other, and counts no message twice or not at all. One process owns
// the folder.
type State struct {
	dir string
	// settings say what the counts are of: a run with others must not go on with them.
	settings string
	lock     *os.File
}

// ErrOtherSettings says that the state was made by another question than is asked now.
var ErrOtherSettings = errors.New("the state was made with other settings")

// ErrLocked says that another process has the folder.
var ErrLocked = errors.New("another process uses the folder")

const stateVersion = 1

// saved is the file.
type saved struct {
	Version  int         `json:"version"`
	Settings string      `json:"settings"`
	Parts    []savedPart `json:"parts"`
}

type savedPart struct {
	ID      int             `json:"id"`
	Next    int64           `json:"next"`
	Removed int64           `json:"removed"`
	Tally   *Tally          `json:"tally"`
	IDs     json.RawMessage `json:"ids"`
}

// OpenState takes a folder, which is made if it is missing. settings name all that decides
// what is counted, but for the messages.
func OpenState(dir, settings string) (*State, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	return &State{dir: dir, settings: settings, lock: f}, nil
}

// Close lets the folder go.
func (s *State) Close() error { return s.lock.Close() }

func (s *State) path() string { return filepath.Join(s.dir, "report.json") }

// restore lets the parts of a run go on from what was saved.
func (s *State) restore(r *Run) error {
	f, err := os.Open(s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	var was saved
	if err := json.NewDecoder(bufio.NewReader(f)).Decode(&was); err != nil {
		return fmt.Errorf("%s: %w", s.path(), err)
	}
	if was.Version != stateVersion || was.Settings != s.settings {
		return fmt.Errorf("%w: rules, model, time or topic differ, or the version of understudy; name another folder, or remove %s", ErrOtherSettings, s.path())
	}
	byID := map[int]*part{}
	for _, p := range r.parts {
		byID[p.ID] = p
	}
	for i := range was.Parts {
		p := byID[was.Parts[i].ID]
		if p == nil || was.Parts[i].Tally == nil {
			return fmt.Errorf("%w: it has a partition %d", ErrOtherTopic, was.Parts[i].ID)
		}
		if err := p.resume(&was.Parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// save replaces the file, and returns the offsets that are in it.
func (s *State) save(r *Run) (next map[int]int64, err error) {
	now := saved{Version: stateVersion, Settings: s.settings}
	next = map[int]int64{}
	for _, p := range r.parts {
		one, err := p.save()
		if err != nil {
			return nil, err
		}
		now.Parts = append(now.Parts, one)
		next[p.ID] = one.Next
	}
	return next, replace(s.path(), now)
}

// save copies a partition's counts with its offset.
func (p *part) save() (savedPart, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids, err := p.window.MarshalJSON()
	if err != nil {
		return savedPart{}, err
	}
	tally := newTally(p.tally.options)
	tally.merge(p.tally)
	return savedPart{ID: p.ID, Next: p.Next, Removed: p.removed, Tally: tally, IDs: ids}, nil
}

// replace writes a file beside the old one and renames it there: after a crash or a loss of
// power there is the old one or the new one, whole.
func replace(path string, v any) (err error) {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error counts
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err = json.NewEncoder(w).Encode(v); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

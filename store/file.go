package store

import (
	"context"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/understudy-serving/understudy/rollout"
)

// The buckets: each maps a model's name to an encoded value.
var (
	statesBucket   = []byte("states")
	progressBucket = []byte("progress")
	evidenceBucket = []byte("evidence")
)

// File is a store in one local file (bbolt). One process at a time holds it. Every
// acknowledged write is on disk.
//
// The file is opened by the first method that needs it, and again by the next one where
// that failed; until then methods return ErrUnavailable.
//
// A disk can't be hurried, so methods visit the file one at a time, each in a goroutine
// that it leaves behind when its context ends. A visit left behind comes to its end all
// the same, before the next one begins.
type File struct {
	path     string
	opened   opener
	watchers watchers
	// turn has room for the one visit under way.
	turn chan struct{}
}

// NewFile returns the store at path without touching the disk. The first use makes the
// file, with mode 0600, where it is missing; its folder must exist.
func NewFile(path string) *File {
	return &File{path: path, opened: opener{path: path}, turn: make(chan struct{}, 1)}
}

// Close gives the file back and ends every Watch. Methods return ErrUnavailable
// afterwards. It waits for the visit under way, be it left behind or not.
func (f *File) Close() error {
	f.watchers.close()
	return f.opened.close()
}

// visit runs work on the open file, and makes its errors those that a store returns. It
// does not wait beyond ctx's end; work that has begun goes on then, so it must share
// nothing with its caller but what it returns.
func visit[T any](ctx context.Context, f *File, work func(*bolt.DB) (T, error)) (found T, err error) {
	if ctx.Err() != nil {
		return found, f.unanswered(ctx)
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return found, f.unanswered(ctx)
	}
	type answer struct {
		found T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		a.err = f.opened.use(func(db *bolt.DB) (err error) {
			a.found, err = work(db)
			return err
		})
		<-f.turn // before the answer: whoever has it may visit next
		answers <- a
	}()
	select {
	case a := <-answers:
		return a.found, f.explained(a.err)
	case <-ctx.Done():
		return found, f.unanswered(ctx)
	}
}

func (f *File) unanswered(ctx context.Context) error {
	return fmt.Errorf("%w: file %s: no answer in time: %w", ErrUnavailable, f.path, context.Cause(ctx))
}

func (f *File) explained(err error) error {
	if err == nil || errors.Is(err, ErrStale) || errors.Is(err, ErrNotFound) {
		return err
	}
	return fmt.Errorf("%w: file %s: %w", ErrUnavailable, f.path, err)
}

// update is a visit that changes the file.
func (f *File) update(ctx context.Context, change func(*bolt.Tx) error, done func()) error {
	_, err := visit(ctx, f, func(db *bolt.DB) (none struct{}, err error) {
		if err = db.Update(change); err == nil {
			done()
		}
		return none, err
	})
	return err
}

// Load returns the model's state, or ErrNotFound.
func (f *File) Load(ctx context.Context, model string) (rollout.State, error) {
	return visit(ctx, f, func(db *bolt.DB) (s rollout.State, err error) {
		err = db.View(func(tx *bolt.Tx) (err error) {
			s, err = stateIn(tx, model)
			if err == nil && s.Revision == 0 {
				return missing(tx, model)
			}
			return err
		})
		return s, err
	})
}

// CompareAndSwap stores next where the stored revision is expected (0: where nothing is
// stored), and else returns a StaleError with what is stored. next.Revision must be over
// expected.
func (f *File) CompareAndSwap(ctx context.Context, expected uint64, next rollout.State) error {
	if err := checkSwap(expected, next); err != nil {
		return err
	}
	value, err := encode(next)
	if err != nil {
		return fmt.Errorf("store: encode the state of %s: %w", next.Model, err)
	}
	next = clone(next) // the caller may be gone, and its state changed, when this is stored
	return f.update(ctx, func(tx *bolt.Tx) error {
		current, err := stateIn(tx, next.Model)
		if err != nil {
			return err
		}
		if current.Revision != expected {
			return &StaleError{Model: next.Model, Expected: expected, Current: current}
		}
		return put(tx, statesBucket, next.Model, value)
	}, func() { f.watchers.tell(next) })
}

// SaveProgress stores what the model's rollout has gathered at its step; the last one
// to store wins.
func (f *File) SaveProgress(ctx context.Context, model string, p rollout.Progress) error {
	if model == "" {
		return errors.New("store: progress without a model name")
	}
	value, err := encode(p)
	if err != nil {
		return fmt.Errorf("store: encode the progress of %s: %w", model, err)
	}
	return f.update(ctx, func(tx *bolt.Tx) error { return put(tx, progressBucket, model, value) }, func() {})
}

// LoadProgress returns what SaveProgress stored last, or ErrNotFound.
func (f *File) LoadProgress(ctx context.Context, model string) (rollout.Progress, error) {
	return load[rollout.Progress](ctx, f, progressBucket, "progress", model)
}

// load returns the model's value in a bucket of what is stored beside the states.
func load[T any](ctx context.Context, f *File, bucket []byte, what, model string) (T, error) {
	return visit(ctx, f, func(db *bolt.DB) (found T, err error) {
		err = db.View(func(tx *bolt.Tx) error {
			value := get(tx, bucket, model)
			if value == nil {
				return fmt.Errorf("%s of model %s: %w", what, model, ErrNotFound)
			}
			if err := decode(value, &found); err != nil {
				var none T
				found = none
				return fmt.Errorf("%s of model %s: %w", what, model, err)
			}
			return nil
		})
		return found, err
	})
}

// SaveEvidence stores what the gates know of the model's rollout where the stored version is
// expected (0: where nothing is stored), and else returns ErrStale. next.Version must be
// over expected.
func (f *File) SaveEvidence(ctx context.Context, model string, expected uint64, next rollout.StoredEvidence) error {
	if model == "" || next.Version <= expected {
		return fmt.Errorf("store: evidence of model %q: version %d in place of %d: want a name and a higher version", model, next.Version, expected)
	}
	value, err := encode(next)
	if err != nil {
		return fmt.Errorf("store: encode the evidence of %s: %w", model, err)
	}
	return f.update(ctx, func(tx *bolt.Tx) error {
		var stored rollout.StoredEvidence
		if raw := get(tx, evidenceBucket, model); raw != nil && decode(raw, &stored) != nil {
			stored = rollout.StoredEvidence{Version: expected} // damaged: nothing is lost by writing over it
		}
		if stored.Version != expected {
			return fmt.Errorf("%w: evidence of model %s is at version %d, not %d", ErrStale, model, stored.Version, expected)
		}
		return put(tx, evidenceBucket, model, value)
	}, func() {})
}

// LoadEvidence returns what SaveEvidence stored last, or ErrNotFound.
func (f *File) LoadEvidence(ctx context.Context, model string) (rollout.StoredEvidence, error) {
	return load[rollout.StoredEvidence](ctx, f, evidenceBucket, "evidence", model)
}

// Watch calls changed with every state that is stored now, and then with each one that
// this process stores, in order, until ctx ends (it returns ctx's error) or the store is
// closed. changed may use the store.
func (f *File) Watch(ctx context.Context, changed func(rollout.State)) error {
	w := newWatcher()
	defer f.watchers.remove(w)
	_, err := visit(ctx, f, func(db *bolt.DB) (none struct{}, err error) {
		states, err := statesIn(db)
		if err != nil {
			return none, err
		}
		return none, f.watchers.add(w, states)
	})
	if err != nil {
		return err
	}
	return w.run(ctx, changed)
}

func get(tx *bolt.Tx, bucket []byte, model string) []byte {
	if b := tx.Bucket(bucket); b != nil {
		return b.Get([]byte(model))
	}
	return nil
}

func put(tx *bolt.Tx, bucket []byte, model string, value []byte) error {
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return err
	}
	return b.Put([]byte(model), value)
}

// stateIn returns the model's state; the zero State where there is none.
func stateIn(tx *bolt.Tx, model string) (rollout.State, error) {
	value := get(tx, statesBucket, model)
	if value == nil {
		return rollout.State{}, nil
	}
	s, err := decodeState(model, value)
	if err != nil {
		return s, fmt.Errorf("state of model %s: %w", model, err)
	}
	return s, nil
}

// missing is ErrNotFound, unless some entry is damaged: that one may be the model's, and
// taking it for absent would forget a rollback.
func missing(tx *bolt.Tx, model string) error {
	if _, err := allIn(tx); err != nil {
		return err
	}
	return fmt.Errorf("model %s: %w", model, ErrNotFound)
}

func statesIn(db *bolt.DB) (all []rollout.State, err error) {
	err = db.View(func(tx *bolt.Tx) (err error) {
		all, err = allIn(tx)
		return err
	})
	return all, err
}

func allIn(tx *bolt.Tx) (all []rollout.State, err error) {
	b := tx.Bucket(statesBucket)
	if b == nil {
		return nil, nil
	}
	err = b.ForEach(func(k, v []byte) error {
		s, err := decodeState(string(k), v)
		if err != nil {
			return fmt.Errorf("state of model %s: %w", k, err)
		}
		all = append(all, s)
		return nil
	})
	return all, err
}

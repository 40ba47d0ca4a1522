package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/understudy-serving/understudy/rollout"
	"github.com/understudy-serving/understudy/store"
	"github.com/understudy-serving/understudy/store/storetest"
)

// holderPath, in the environment, makes the test binary a process that holds the store
// at that path until its standard input ends, or until it is killed.
const holderPath = "STORE_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holderPath); path != "" {
		hold(path)
		return
	}
	goleak.VerifyTestMain(m)
}

func hold(path string) {
	f := store.NewFile(path)
	next := simple(1)
	if err := f.CompareAndSwap(context.Background(), 0, next); err != nil && !errors.Is(err, store.ErrStale) {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("held\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = f.Close()
}

func simple(revision uint64) rollout.State {
	return rollout.State{Model: "m", Revision: revision, Mode: rollout.ModeRolledBack}
}

func open(t *testing.T, path string) *store.File {
	t.Helper()
	f := store.NewFile(path)
	if _, err := f.Load(t.Context(), "m"); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestFile(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store {
		return open(t, filepath.Join(t.TempDir(), "state.db"))
	})
}

func TestFileOpenedLate(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store {
		return store.NewFile(filepath.Join(t.TempDir(), "state.db"))
	})
}

func TestStatesOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	if err := f.CompareAndSwap(t.Context(), 0, simple(4)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, path).Load(t.Context(), "m"); err != nil || got.Revision != 4 || got.Mode != rollout.ModeRolledBack {
		t.Errorf("%+v, %v", got, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: want 0600", info.Mode(), err)
	}
}

func TestNewFileTouchesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "state.db")
	f := store.NewFile(path)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
}

// holder is another process that has the store at path open; end kills it.
func holder(t *testing.T, path string) (end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderPath+"="+path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = stdin.Close()
	}
	t.Cleanup(end)
	if _, err := stdout.Read(make([]byte, 5)); err != nil {
		t.Fatalf("the other process did not open the store: %v", err)
	}
	return end
}

func TestAFileThatAnotherProcessHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	end := holder(t, path)

	late := store.NewFile(path)
	defer late.Close()
	start := time.Now()
	_, err := late.Load(t.Context(), "m")
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("Load: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Load took %s", took)
	}
	// Whoever has less patience than bbolt's lock leaves; the others behind it too.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	for range 10 {
		if _, err := late.Load(ctx, "m"); !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Load with 50ms: %v", err)
		}
	}
	if took := time.Since(start); took > 300*time.Millisecond {
		t.Errorf("ten impatient loads took %s", took)
	}
	end() // killed: what it has acknowledged is there
	if got, err := late.Load(t.Context(), "m"); err != nil || got.Revision != 1 {
		t.Errorf("after the other process ended: %+v, %v", got, err)
	}
}

// written returns the bytes of a closed store that holds one state.
func written(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	f := open(t, path)
	for r := range uint64(3) {
		if err := f.CompareAndSwap(t.Context(), r, simple(r+1)); err != nil {
			t.Fatal(err)
		}
	}
	_ = f.SaveProgress(t.Context(), "m", rollout.Progress{Entered: 3})
	_ = f.Close()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// try opens bytes as a store and returns what Load says. It must not panic or hang. Each
// try needs a path of its own: behind a panic bbolt's mapping keeps the file locked.
func try(t *testing.T, path string, raw []byte) (rollout.State, error) {
	t.Helper()
	defer os.Remove(path)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	f := store.NewFile(path)
	defer func() {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	got, err := f.Load(t.Context(), "m")
	if err == nil {
		_ = f.CompareAndSwap(t.Context(), got.Revision, simple(got.Revision+1))
	}
	return got, err
}

func TestGarbageIsAClearError(t *testing.T) {
	folder := t.TempDir()
	whole := written(t)
	page := os.Getpagesize()
	for name, raw := range map[string][]byte{
		"text":                 []byte("model: fraud\n"),
		"a page of text":       []byte(strings.Repeat("not a database\n", 1000)),
		"zeroes":               make([]byte, 64<<10),
		"cut in its first":     whole[:100],
		"cut behind the metas": whole[:2*page],
		"cut in the middle":    whole[:len(whole)/2],
		"pages overwritten":    append(append([]byte{}, whole[:2*page]...), []byte(strings.Repeat("x", len(whole)-2*page))...),
	} {
		path := filepath.Join(folder, name)
		got, err := try(t, path, raw)
		if err == nil {
			if got.Revision != 3 {
				t.Errorf("%s: loaded %+v", name, got)
			}
			continue
		}
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAChangedEntryIsRefused(t *testing.T) {
	folder := t.TempDir()
	whole := string(written(t))
	for name, change := range map[string][2]string{
		"another revision": {`"revision":3`, `"revision":7`},
		"another mode":     {`"mode":"rolled_back"`, `"mode":"canary"     `},
		"another model":    {`m{"schema"`, `n{"schema"`},
		"no schema":        {`"schema":1`, `"schema":0`},
		"no states":        {"states", "stat3s"},
	} {
		if !strings.Contains(whole, change[0]) || len(change[0]) != len(change[1]) {
			t.Fatalf("%s: nothing to change", name)
		}
		got, err := try(t, filepath.Join(folder, name), []byte(strings.ReplaceAll(whole, change[0], change[1])))
		if !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestAFlippedByteNeverChangesAState flips bytes all over the file: the state comes back
// as it was stored, or not at all.
func TestAFlippedByteNeverChangesAState(t *testing.T) {
	folder := t.TempDir()
	whole := written(t)
	stride := 97
	if testing.Short() {
		stride = 411
	}
	var forgotten []int
	for i := 0; i < len(whole); i += stride {
		raw := append([]byte{}, whole...)
		raw[i] ^= 0x41
		got, err := try(t, filepath.Join(folder, strconv.Itoa(i)), raw)
		// An older state may come back: a flip in one of the two meta pages undoes the
		// last write. A state that was never stored may not.
		if errors.Is(err, store.ErrNotFound) {
			forgotten = append(forgotten, i)
		}
		if err == nil && (got.Mode != rollout.ModeRolledBack || got.Revision > 3 || got.Revision == 0) {
			t.Errorf("byte %d: loaded %+v", i, got)
		}
	}
	if len(forgotten) > 0 {
		t.Errorf("bytes %v: the state is forgotten", forgotten)
	}
}

func TestAValueOfALaterVersionIsRefusedAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	_ = open(t, path).Close()
	later := []byte(`{"schema":2,"state":"in a form of its own"}`)
	raw := func(do func(*bolt.Bucket) error) {
		t.Helper()
		db, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("states"))
			if err != nil {
				return err
			}
			return do(b)
		}); err != nil {
			t.Fatal(err)
		}
	}
	raw(func(b *bolt.Bucket) error { return b.Put([]byte("m"), later) })
	f := store.NewFile(path)
	_, err := f.Load(t.Context(), "m")
	if !errors.Is(err, store.ErrCorrupt) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "schema is 2") {
		t.Errorf("Load: %v", err)
	}
	if err := f.CompareAndSwap(t.Context(), 0, simple(1)); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("CompareAndSwap: %v", err)
	}
	_ = f.Close()
	raw(func(b *bolt.Bucket) error {
		if got := b.Get([]byte("m")); string(got) != string(later) {
			t.Errorf("the later version's value became %s", got)
		}
		return nil
	})
}

// A folder that is not there may be a volume that is not mounted: nothing is known of
// the rollouts until it is.
func TestAFolderThatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "volume", "state.db")
	f := store.NewFile(path)
	defer f.Close()
	if _, err := f.Load(t.Context(), "m"); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want ErrUnavailable that names the file", err)
	}
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(t.Context(), "m"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("once the folder is there: %v", err)
	}
}

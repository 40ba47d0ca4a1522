package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/understudy-serving/understudy/demo/models"
	"github.com/understudy-serving/understudy/demo/modelserver"
)

// rig is what rows stand on: the gateway's binary, model servers, brokers, a folder.
// Rows run one after the other.
type rig struct {
	quick    bool
	dir      string
	keep     bool
	binary   string
	progress func(format string, args ...any)

	champion, challenger *modelserver.Server
	rows                 []models.Row

	// healthy and victim are brokers that start with the first row that asks. Faults
	// are for the victim.
	healthyBroker, victimBroker *broker

	requests atomic.Int64 // numbers of requests given out
	serial   int          // for names that must differ
	repeated int          // runs that this row made again, ...
	repeats  int          // ... and all rows did

	ofRow, ofRig []func() // to be undone, newest last
}

// newRig builds the gateway, unless f names one that is built, and starts the model
// servers.
func newRig(ctx context.Context, f flags, progress func(string, ...any)) (*rig, error) {
	if _, err := os.Stat("go.mod"); err != nil {
		return nil, errors.New("no go.mod here: run it from the module's root, as `make faults` does")
	}
	r := &rig{quick: f.quick, keep: f.keep, binary: f.gateway, progress: progress}
	if err := r.setUp(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) setUp(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", "understudy-faults-"); err != nil {
		return err
	}
	if r.rows, err = models.HeldOut(); err != nil {
		return err
	}
	if r.binary == "" {
		if err = r.build(ctx); err != nil {
			return err
		}
	}
	return r.startModels()
}

func (r *rig) build(ctx context.Context) error {
	r.progress("building the gateway")
	r.binary = filepath.Join(r.dir, "understudy")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", r.binary, "./cmd/understudy").CombinedOutput(); err != nil {
		return fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return nil
}

func (r *rig) startModels() error {
	logistic, err := models.NewLogistic()
	if err != nil {
		return err
	}
	trees, err := models.NewTrees()
	if err != nil {
		return err
	}
	r.champion, err = modelserver.New(modelserver.Options{Name: "risk-v1", Version: "1", Model: logistic, Delay: championTakes})
	if err != nil {
		return err
	}
	r.ofRig = append(r.ofRig, r.champion.Close)
	r.challenger, err = modelserver.New(modelserver.Options{Name: "risk-v2", Version: "2", Model: trees})
	if err != nil {
		return err
	}
	r.ofRig = append(r.ofRig, r.challenger.Close)
	return nil
}

// championTakes is how long an inference takes: long enough that the 99th percentile is
// more than the chance of two processes finding a free core.
func championTakes() time.Duration { return 8*time.Millisecond + rand.N(4*time.Millisecond) }

// after has something undone when the row ends, before what was there earlier.
func (r *rig) after(undo func()) { r.ofRow = append(r.ofRow, undo) }

// again tells whether there is time to make an undecided run once more: a few times for
// each row, and in the short form a few times for all.
func (r *rig) again() bool {
	if r.repeated == pick(r, 4, 2) || r.quick && r.repeats == 5 {
		return false
	}
	r.repeated++
	r.repeats++
	return true
}

// endRow undoes what the row left.
func (r *rig) endRow() {
	undo(&r.ofRow)
	r.repeated = 0
}

// close ends everything.
func (r *rig) close() {
	undo(&r.ofRow)
	undo(&r.ofRig)
	if r.dir == "" {
		return
	}
	if r.keep {
		r.progress("kept %s", r.dir)
		return
	}
	if err := os.RemoveAll(r.dir); err != nil {
		r.progress("the working folder stays: %v", err)
	}
}

func undo(list *[]func()) {
	for _, f := range slices.Backward(*list) {
		f()
	}
	*list = nil
}

// pick returns the long run's value or the short one's.
func pick[T any](r *rig, long, quick T) T {
	if r.quick {
		return quick
	}
	return long
}

// name makes a name that no other row has.
func (r *rig) name(base string) string {
	r.serial++
	return fmt.Sprintf("%s-%d", base, r.serial)
}

// folder makes a folder that no other row has.
func (r *rig) folder(base string) (string, error) {
	dir := filepath.Join(r.dir, r.name(base))
	return dir, os.Mkdir(dir, 0o755)
}

// freeAddr returns a loopback address that nobody listens on. Its port lies below those
// that systems give to outgoing connections: a client that dials a gateway which is
// down must not end up connected to itself.
func freeAddr() (string, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(15_000)))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("no free port between 15000 and 30000")
}

const (
	// startPatience and stopPatience bound a gateway's start and end. Both are far
	// from what is expected, which rows measure.
	startPatience = 20 * time.Second
	stopPatience  = 40 * time.Second
)

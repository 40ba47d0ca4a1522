package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/understudy-serving/understudy/proto/inference"
)

// The ports that the demo takes where they are free and nobody asked for others.
const (
	usualGRPCPort  = 8081
	usualAdminPort = 8082
	usualKafkaPort = 9092
)

// house is all that runs: model servers, broker, consumer, gateway, and the
// connections that clients and operator have to it.
type house struct {
	dir, configPath, auditPath string
	// keep says that the temporary folder is needed to find out what went wrong.
	keep bool
	// arms are by model.
	arms     map[string]*arms
	broker   *broker
	reader   *reader
	gateway  *gateway
	operator *operator
	stub     inference.GRPCInferenceServiceClient

	closers []func()
}

// openHouse starts everything and returns when the gateway is ready. What is running
// when it fails is closed again.
func openHouse(ctx context.Context, o Options) (_ *house, err error) {
	h := &house{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if err = h.openDir(o.Dir); err != nil {
		return nil, err
	}
	if err = h.openArms(); err != nil {
		return nil, err
	}
	if err = h.openKafka(o); err != nil {
		return nil, err
	}
	if err = h.openGateway(ctx, o); err != nil {
		return nil, err
	}
	return h, h.openClients()
}

func (h *house) onClose(f func()) { h.closers = append(h.closers, f) }

// close stops everything in the reverse order: the gateway flushes its records while
// the broker still runs.
func (h *house) close() {
	for i := len(h.closers) - 1; i >= 0; i-- {
		h.closers[i]()
	}
	h.closers = nil
}

// openDir makes the folder for config, state and logs; a temporary one is removed at
// the end, unless something went wrong. One that is given must be empty: it may hold somebody's real state.
func (h *house) openDir(dir string) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if found, err := os.ReadDir(dir); err != nil || len(found) > 0 {
			return errors.Join(fmt.Errorf("folder %s is not empty: want a new or an empty one", dir), err)
		}
		h.dir = dir
		return nil
	}
	dir, err := os.MkdirTemp("", "understudy-demo-")
	if err != nil {
		return err
	}
	h.dir = dir
	h.onClose(func() {
		if !h.keep {
			_ = os.RemoveAll(dir) // a temporary folder left behind does no harm
		}
	})
	return nil
}

func (h *house) openArms() error {
	h.arms = map[string]*arms{}
	for _, model := range []string{act1Model, act2Model, act3aModel, act3bModel} {
		a, err := startArms(model)
		if err != nil {
			return err
		}
		h.onClose(a.close)
		h.arms[model] = a
	}
	return nil
}

func (h *house) openKafka(o Options) (err error) {
	if h.broker, err = startBroker(choosePort(o.KafkaPort, usualKafkaPort, o.Once)); err != nil {
		return err
	}
	h.onClose(h.broker.close)
	if h.reader, err = newReader(h.broker.addr()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() { h.reader.run(ctx) })
	h.onClose(func() { cancel(); reading.Wait() })
	return nil
}

func (h *house) openGateway(ctx context.Context, o Options) error {
	text, err := settings{
		GRPCPort: choosePort(o.GRPCPort, usualGRPCPort, o.Once), AdminPort: choosePort(o.AdminPort, usualAdminPort, o.Once),
		Broker: h.broker.addr(), Dir: h.dir, Step: o.Step,
		Act1: h.arms[act1Model].targets(), Act2: h.arms[act2Model].targets(),
		Act3a: h.arms[act3aModel].targets(), Act3b: h.arms[act3bModel].targets(),
	}.yaml()
	if err != nil {
		return err
	}
	h.auditPath = filepath.Join(h.dir, "audit.jsonl")
	h.configPath = filepath.Join(h.dir, "understudy.yaml")
	if err := os.WriteFile(h.configPath, text, 0o644); err != nil {
		return err
	}
	if h.gateway, err = startGateway(ctx, h.configPath, text, filepath.Join(h.dir, "gateway.log")); err != nil {
		return err
	}
	h.onClose(h.gateway.close)
	return nil
}

func (h *house) openClients() error {
	h.operator = newOperator(h.gateway.adminAddr())
	h.onClose(h.operator.close)
	conn, err := grpc.NewClient(h.gateway.grpcAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("clients' connection: %w", err)
	}
	h.onClose(func() { _ = conn.Close() }) // no call is left on it
	h.stub = inference.NewGRPCInferenceServiceClient(conn)
	return nil
}

// choosePort returns the port that was asked for. Where none was, it is any free one
// in a one-shot run, which may not be alone on its machine; else the usual one if it
// is free, so that the commands in the README fit, and otherwise another.
func choosePort(asked, usual int, once bool) int {
	if asked != 0 || once {
		return asked
	}
	if free := freePort(usual); free != 0 {
		return free
	}
	return freePort(0)
}

// freePort returns the port if 127.0.0.1 has it free, else 0; for 0, any that is.
func freePort(port int) int {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0
	}
	defer func() { _ = listener.Close() }() // nothing connected
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}

// errGatewayEnded is the cause of a story's end by the gateway's.
var errGatewayEnded = errors.New("the gateway ended by itself")

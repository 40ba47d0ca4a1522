package kafkatest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// envOrphan makes the test binary launch a broker and wait to be killed.
const envOrphan = "KAFKATEST_ORPHAN"

func orphan() {
	b, err := Launch()
	if err != nil {
		fmt.Println("ERROR", err)
		return
	}
	fmt.Println("ADDR", b.Addr, b.dir)
	select {} // until killed
}

func TestBrokerDiesWithAKilledTestBinary(t *testing.T) {
	shared.Brokers(t) // skips where there is no Kafka to start
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envOrphan+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 3 || fields[0] != "ADDR" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	defer func() { _ = os.RemoveAll(fields[2]) }()
	if !ready(fields[1]) {
		t.Error("the child's broker does not answer")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", fields[1])
		if err != nil {
			return
		}
		_ = c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the broker outlived the test binary")
		}
	}
}

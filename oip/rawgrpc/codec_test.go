package rawgrpc

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// A server that answers each message with itself, through grpc-go.
func TestMessagesThroughGRPC(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(Codec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var in mem.BufferSlice
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		return stream.SendMsg(&in) // gives it away
	}))
	defer server.Stop()
	go func() { _ = server.Serve(lis) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, size := range []int{0, 100, 1 << 20} {
		body := bytes.Repeat([]byte("b"), size)
		var in mem.BufferSlice
		if err := conn.Invoke(t.Context(), "/any/Method", Message([]byte("head"), body), &in); err != nil {
			t.Fatal(err)
		}
		if got := in.Materialize(); string(got) != "head"+string(body) {
			t.Errorf("%d bytes came back as %d others", 4+size, len(got))
		}
		in.Free()
	}
}

func TestCodecRefuses(t *testing.T) {
	if _, err := (Codec{}).Marshal("text"); err == nil || !strings.Contains(err.Error(), "string") {
		t.Errorf("marshal of a string: %v", err)
	}
	if err := (Codec{}).Unmarshal(nil, "text"); err == nil || !strings.Contains(err.Error(), "string") {
		t.Errorf("unmarshal into a string: %v", err)
	}
}

package admin_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/understudy-serving/understudy/admin"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
	"github.com/understudy-serving/understudy/rollout"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

// Every protocol gets the same answers and the same refusals.
func TestProtocols(t *testing.T) {
	w := serve(t, admin.Options{})
	for name, opts := range map[string][]connect.ClientOption{
		"Connect": nil, "Connect with JSON": {connect.WithProtoJSON()}, "Connect with GET": {connect.WithHTTPGet()},
		"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c := w.client(t, opts...)
			list, err := c.ListRollouts(ctx, &adminv1.ListRolloutsRequest{})
			if err != nil || len(list.Rollouts) != 2 || list.Rollouts[0].Model != "fraud" || list.Rollouts[1].Model != "spam" {
				t.Fatalf("%v, %v", list, err)
			}
			told, err := c.Explain(ctx, &adminv1.ExplainRequest{Model: "fraud"})
			if err != nil || told.Rollout.GetRevision() != 3 || len(told.Judgement.GetGates()) != 1 {
				t.Fatalf("%v, %v", told, err)
			}
			_, err = c.Pause(ctx, pauseRequest(1))
			wants(t, err, connect.CodeAborted, "at revision 3")
			if got := meta(err).Get(admin.RevisionHeader); got != "3" {
				t.Errorf("%s: %q", admin.RevisionHeader, got)
			}
			stream, err := c.WatchRollouts(ctx, &adminv1.WatchRolloutsRequest{Model: "spam"})
			if err != nil {
				t.Fatal(err)
			}
			if !stream.Receive() || stream.Msg().Rollout.Model != "spam" {
				t.Fatalf("%v, %v", stream.Msg(), stream.Err())
			}
			cancel()
			stream.Close()
		})
	}
}

func TestRefusalsInEveryProtocol(t *testing.T) {
	w := serve(t, admin.Options{Tokens: tokens})
	for name, opts := range map[string][]connect.ClientOption{
		"Connect": nil, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.client(t, opts...).ListRollouts(context.Background(), &adminv1.ListRolloutsRequest{})
			wants(t, err, connect.CodeUnauthenticated, "Authorization: Bearer")
			stream, err := w.client(t, opts...).WatchRollouts(context.Background(), &adminv1.WatchRolloutsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if stream.Receive() {
				t.Fatal("a watch without a token got something")
			}
			wants(t, stream.Err(), connect.CodeUnauthenticated)
			stream.Close()
		})
	}
}

func TestCurl(t *testing.T) {
	w := serve(t, admin.Options{})
	client := &http.Client{Transport: &http.Transport{}} // HTTP/1.1
	defer client.CloseIdleConnections()
	call := func(procedure, body string) (*http.Response, map[string]any) {
		t.Helper()
		res, err := client.Post("http://"+w.address+procedure, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return res, out
	}
	if _, out := call(get, getBody); out["rollout"].(map[string]any)["mode"] != "MODE_SHADOW" {
		t.Errorf("%v", out)
	}
	res, out := call(pause, `{"model":"fraud","expectedRevision":"1","reason":"x"}`)
	if res.StatusCode != http.StatusConflict || out["code"] != "aborted" || res.Header.Get(admin.RevisionHeader) != "3" || res.Proto != "HTTP/1.1" {
		t.Errorf("%s %v %v", res.Status, res.Header, out)
	}
	// Snake case, as the .proto file has it, does as well.
	if res, out := call(pause, `{"model":"fraud","expected_revision":3,"reason":"x"}`); res.StatusCode != 200 {
		t.Errorf("%s %v", res.Status, out)
	}
}

func dial(t *testing.T, w *world) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(w.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// grpc-go over unencrypted HTTP/2, as grpcurl -plaintext.
func TestGRPCGo(t *testing.T) {
	w := serve(t, admin.Options{Tokens: tokens})
	conn := dial(t, w)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := conn.Invoke(ctx, pause, pauseRequest(3), &adminv1.PauseResponse{})
	if s := status.Convert(err); s.Code() != codes.Unauthenticated || !strings.Contains(s.Message(), "--token-file") {
		t.Fatalf("without a token: %v", err)
	}
	viewer := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+viewerSecret)
	if err := conn.Invoke(viewer, pause, pauseRequest(3), &adminv1.PauseResponse{}); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("as viewer: %v", err)
	}
	operator := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+operatorSecret)
	var trailer metadata.MD
	err = conn.Invoke(operator, pause, pauseRequest(2), &adminv1.PauseResponse{}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.Aborted || strings.Join(trailer.Get(admin.RevisionHeader), "") != "3" {
		t.Fatalf("stale: %v, trailer %v", err, trailer)
	}
	res := &adminv1.PauseResponse{}
	if err := conn.Invoke(operator, pause, pauseRequest(3), res); err != nil || !res.Rollout.Paused {
		t.Fatalf("as operator: %v, %v", res, err)
	}
}

func TestReflection(t *testing.T) {
	w := serve(t, admin.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stream, err := reflectionv1.NewServerReflectionClient(dial(t, w)).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	services := res.GetListServicesResponse().GetService()
	if len(services) != 2 || services[0].Name != adminv1connect.RolloutServiceName || services[1].Name != adminv1connect.OutcomeServiceName {
		t.Errorf("services %v", services)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestTLS(t *testing.T) {
	pair := httptest.NewUnstartedServer(nil)
	pair.StartTLS()
	defer pair.Close()
	roots := x509.NewCertPool()
	roots.AddCert(pair.Certificate())
	w := serve(t, admin.Options{TLS: &tls.Config{Certificates: pair.TLS.Certificates}})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c := adminv1connect.NewRolloutServiceClient(&http.Client{Transport: transport}, "https://"+w.address, connect.WithGRPC())
	if _, err := c.ListRollouts(context.Background(), &adminv1.ListRolloutsRequest{}); err != nil {
		t.Fatal(err)
	}
}

// A watcher sees a change at once, and neither a long interval nor HTTP/1.1 keeps
// Shutdown from ending it.
func TestWatchOverTheNetwork(t *testing.T) {
	w := serve(t, admin.Options{})
	for name, client := range map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "HTTP/2": httpClient(t)} {
		t.Run(name, func(t *testing.T) {
			defer client.CloseIdleConnections()
			stream := watch(t, client, w.address)
			defer stream.Close()
			for want := uint64(3); want < 6; want++ {
				if !stream.Receive() || stream.Msg().Rollout.Revision != want {
					t.Fatalf("%v, %v; want revision %d", stream.Msg(), stream.Err(), want)
				}
				v := fraud()
				v.Revision = want + 1
				w.rollouts.Put(v)
			}
			w.rollouts.Put(fraud())
		})
	}
	stream := watch(t, httpClient(t), w.address)
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for stream.Receive() {
	}
	wants(t, stream.Err(), connect.CodeUnavailable, "shuts down")
	if n := w.rollouts.Subscribers(); n != 0 {
		t.Errorf("%d subscriptions left", n)
	}
}

// A handler whose client left is none of net/http's concern any more, but of Shutdown's.
func TestShutdownWaitsForHandlers(t *testing.T) {
	w := serve(t, admin.Options{})
	entered, release := make(chan struct{}), make(chan struct{})
	w.rollouts.Audit = func(rollout.State, rollout.State, rollout.Event, rollout.Figures) error {
		close(entered)
		<-release
		return nil
	}
	call, leave := context.WithCancel(context.Background())
	client, left := httpClient(t), make(chan error, 1)
	go func() {
		_, err := adminv1connect.NewRolloutServiceClient(client, "http://"+w.address).Pause(call, pauseRequest(3))
		left <- err
	}()
	<-entered
	leave()
	wants(t, <-left, connect.CodeCanceled)
	client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v while a handler runs", err)
	}
	close(release)
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func watch(t *testing.T, client *http.Client, address string) *connect.ServerStreamForClient[adminv1.WatchRolloutsResponse] {
	t.Helper()
	c := adminv1connect.NewRolloutServiceClient(client, "http://"+address)
	// The test's end cancels it.
	stream, err := c.WatchRollouts(t.Context(), &adminv1.WatchRolloutsRequest{Model: "fraud", Interval: nil})
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestWatchesAreBounded(t *testing.T) {
	w := serve(t, admin.Options{})
	var streams []*connect.ServerStreamForClient[adminv1.WatchRolloutsResponse]
	for range 5 { // 64 streams a connection
		client := httpClient(t)
		for range 60 {
			streams = append(streams, watch(t, client, w.address))
		}
	}
	refused := 0
	for _, s := range streams {
		if !s.Receive() {
			wants(t, s.Err(), connect.CodeResourceExhausted, "256 watches are open")
			refused++
		}
	}
	for _, s := range streams {
		s.Close()
	}
	if refused != 300-256 {
		t.Errorf("%d of 300 refused, want 44", refused)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	w := serve(t, admin.Options{})
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	}()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v; want 431", line, err)
	}
}

func TestAStaleWatcherSeesTheRollback(t *testing.T) {
	w := serve(t, admin.Options{})
	stream := watch(t, httpClient(t), w.address)
	defer stream.Close()
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	if _, err := w.client(t).Rollback(t.Context(), &adminv1.RollbackRequest{Model: "fraud", Reason: "bad"}); err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() || stream.Msg().Rollout.Mode != adminv1.Mode_MODE_ROLLED_BACK {
		t.Fatalf("%v, %v", stream.Msg(), stream.Err())
	}
	if v, _ := w.rollouts.Get("fraud"); v.Mode != rollout.ModeRolledBack {
		t.Errorf("mode %s", v.Mode)
	}
}

// A connection that has sent nothing, as clients keep in reserve, does not hold Shutdown up.
func TestShutdownDoesNotWaitForSilentConnections(t *testing.T) {
	w := serve(t, admin.Options{})
	silent, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	// Answered on another connection, so that the server has accepted the silent one.
	if _, err := w.client(t).ListRollouts(t.Context(), &adminv1.ListRolloutsRequest{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Errorf("%v: want the silent connection closed", err)
	}
}

package admin_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/understudy-serving/understudy/admin"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
)

// fetch gets a path as a stranger would.
func fetch(w *world, remote, path string) (int, string) {
	r := httptest.NewRequest("GET", "http://10.0.0.1:8082"+path, nil)
	r.RemoteAddr = remote
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func TestProbesAreOpen(t *testing.T) {
	var notReady error
	for _, opts := range []admin.Options{{}, {Tokens: tokens}} {
		opts.Ready = func() error { return notReady }
		w := newWorld(t, opts)
		check := func(path string, want int, text string) {
			t.Helper()
			if status, body := fetch(w, "192.0.2.7:1", path); status != want || !strings.Contains(body, text) {
				t.Errorf("%s: %d %s; want %d with %q", path, status, body, want, text)
			}
		}
		notReady = nil
		check("/healthz", 200, "ok")
		check("/readyz", 200, "ready")
		notReady = errors.New("champion of fraud does not answer at dns:///one:8081")
		check("/readyz", 503, "not ready: champion of fraud")
		check("/healthz", 200, "ok")
		check("/metrics", 200, "understudy_audit_failures_total 0")
		check("/nothing", 404, "")
	}
}

func TestTheIndexIsNotOpen(t *testing.T) {
	w := newWorld(t, admin.Options{Version: "1.2.3"})
	if status, body := fetch(w, "192.0.2.7:1", "/"); status != 403 || strings.Contains(body, "1.2.3") {
		t.Errorf("%d %s", status, body)
	}
	r := httptest.NewRequest("GET", "http://localhost:8082/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	if body := rec.Body.String(); rec.Code != 200 || !strings.Contains(body, "understudy 1.2.3") || !strings.Contains(body, "grpcurl -plaintext localhost:8082 list") {
		t.Errorf("%d %s", rec.Code, body)
	}
}

func TestMetricsOfCalls(t *testing.T) {
	w := newWorld(t, admin.Options{Tokens: tokens})
	operator := map[string]string{"Authorization": "Bearer " + operatorSecret}
	post(w.Handler(), "192.0.2.7:1", get, getBody, operator)
	post(w.Handler(), "192.0.2.7:1", get, `{"model":"frod"}`, operator)
	post(w.Handler(), "192.0.2.7:1", pause, `{"model":"fraud","expectedRevision":1,"reason":"x"}`, operator)
	post(w.Handler(), "192.0.2.7:1", get, getBody, nil)
	_, body := fetch(w, "192.0.2.7:1", "/metrics")
	for _, want := range []string{
		`understudy_admin_requests_total{code="OK",method="GetRollout"} 1`,
		`understudy_admin_requests_total{code="NOT_FOUND",method="GetRollout"} 1`,
		`understudy_admin_requests_total{code="ABORTED",method="Pause"} 1`,
		`understudy_admin_refused_total{code="ABORTED"} 1`,
		`understudy_admin_refused_total{code="UNAUTHENTICATED"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestTwoServersCannotShareARegistry(t *testing.T) {
	w := newWorld(t, admin.Options{})
	_, err := admin.New(admin.Options{Rollouts: w.rollouts, Registerer: w.registry})
	if err == nil || !strings.Contains(err.Error(), "duplicate") {
		t.Errorf("%v", err)
	}
	if _, err := admin.New(admin.Options{}); err == nil {
		t.Error("a server without rollouts")
	}
}

func TestDefaultsAreEnough(t *testing.T) {
	s, err := admin.New(admin.Options{Rollouts: newWorld(t, admin.Options{}).rollouts})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: s}
	if status, _ := fetch(w, "192.0.2.7:1", "/metrics"); status != 404 {
		t.Errorf("/metrics without a Gatherer: %d", status)
	}
	if _, err := w.direct().ListRollouts(context.Background(), &adminv1.ListRolloutsRequest{}); err != nil {
		t.Error(err)
	}
}

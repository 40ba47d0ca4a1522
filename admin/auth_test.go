package admin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/admin"
	adminv1 "github.com/understudy-serving/understudy/proto/understudy/admin/v1"
	"github.com/understudy-serving/understudy/proto/understudy/admin/v1/adminv1connect"
)

// from is an HTTP client that hands requests to a handler as if from an address.
type from struct {
	remote  string
	handler http.Handler
}

func (f from) Do(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RemoteAddr = f.remote
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	f.handler.ServeHTTP(rec, in)
	return rec.Result(), nil
}

const (
	viewerSecret   = "viewer-secret-of-32-characters-00"
	operatorSecret = "operator-secret-of-32-characters-"
)

var tokens = []admin.Token{
	{Name: "eve", Role: admin.RoleViewer, Secret: viewerSecret},
	{Name: "ci", Role: admin.RoleOperator, Secret: operatorSecret},
}

// post sends one JSON call and returns the HTTP status and body.
func post(h http.Handler, remote, procedure, body string, header map[string]string) (int, string) {
	r := httptest.NewRequest("POST", "http://127.0.0.1:8082"+procedure, strings.NewReader(body))
	r.RemoteAddr = remote
	r.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		if k == "Host" {
			r.Host = v
			continue
		}
		r.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

const (
	get      = adminv1connect.RolloutServiceGetRolloutProcedure
	pause    = adminv1connect.RolloutServicePauseProcedure
	getBody  = `{"model":"fraud"}`
	stopBody = `{"model":"fraud","expectedRevision":3,"reason":"lunch"}`
)

func TestWithoutTokensOnlyThisMachineIsAnswered(t *testing.T) {
	w := newWorld(t, admin.Options{})
	for _, c := range []struct {
		name, remote string
		header       map[string]string
		refused      string // part of the message; empty: let in
	}{
		{"IPv4 loopback", "127.0.0.1:4711", nil, ""},
		{"another loopback address", "127.8.0.1:4711", nil, ""},
		{"IPv6 loopback", "[::1]:4711", map[string]string{"Host": "[::1]:8082"}, ""},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:4711", map[string]string{"Host": "LOCALHOST:8082"}, ""},
		{"host without a port", "127.0.0.1:1", map[string]string{"Host": "localhost"}, ""},
		{"IPv6 host without a port", "127.0.0.1:1", map[string]string{"Host": "[::1]"}, ""},
		{"the console's own page", "127.0.0.1:1", map[string]string{"Origin": "http://127.0.0.1:8082", "Sec-Fetch-Site": "same-origin"}, ""},
		{"another machine", "192.0.2.7:4711", nil, "192.0.2.7:4711"},
		{"another machine that says it is this one", "192.0.2.7:4711", map[string]string{"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}, "admin.tokens"},
		{"a Unix socket", "@", nil, "the caller is @"},
		{"no address", "", nil, "only callers on this machine"},
		{"rebound name", "127.0.0.1:1", map[string]string{"Host": "evil.example:8082"}, `host "evil.example:8082"`},
		{"name that looks local", "127.0.0.1:1", map[string]string{"Host": "localhost.evil.example"}, "localhost.evil.example"},
		{"page of another site", "127.0.0.1:1", map[string]string{"Origin": "https://evil.example"}, `"https://evil.example"`},
		{"page of another local port", "127.0.0.1:1", map[string]string{"Origin": "http://127.0.0.1:3000"}, ":3000"},
		{"sandboxed page", "127.0.0.1:1", map[string]string{"Origin": "null"}, `"null"`},
		{"cross-site fetch", "127.0.0.1:1", map[string]string{"Sec-Fetch-Site": "cross-site"}, "another site"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := post(w.Handler(), c.remote, get, getBody, c.header)
			if c.refused == "" {
				if status != 200 || !strings.Contains(body, `"model":"fraud"`) {
					t.Fatalf("%d %s; want it let in", status, body)
				}
				return
			}
			if status != 403 || !strings.Contains(body, "permission_denied") || !strings.Contains(body, strings.ReplaceAll(c.refused, `"`, `\"`)) {
				t.Fatalf("%d %s; want 403 about %s", status, body, c.refused)
			}
		})
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t, admin.Options{Tokens: tokens})
	bearer := func(s string) map[string]string { return map[string]string{"Authorization": s} }
	for _, c := range []struct {
		name      string
		header    map[string]string
		read      int
		change    int
		changeSay string
	}{
		{"none", nil, 401, 401, "--token-file"},
		{"wrong", bearer("Bearer wrong"), 401, 401, "unknown token"},
		{"empty", bearer("Bearer "), 401, 401, "unknown token"},
		{"another scheme", bearer("Basic " + operatorSecret), 401, 401, "another scheme"},
		{"cut", bearer("Bearer " + operatorSecret[:20]), 401, 401, "unknown token"},
		{"viewer", bearer("Bearer " + viewerSecret), 200, 403, "token eve is a viewer"},
		{"operator", bearer("Bearer " + operatorSecret), 200, 200, `"paused":true`},
		{"scheme in small letters", bearer("bearer " + viewerSecret), 200, 403, "role operator is needed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The address counts for nothing once there are tokens.
			for _, remote := range []string{"127.0.0.1:1", "192.0.2.7:4711"} {
				if status, body := post(w.Handler(), remote, get, getBody, c.header); status != c.read {
					t.Errorf("read from %s: %d %s; want %d", remote, status, body, c.read)
				}
			}
			if status, body := post(w.Handler(), "192.0.2.7:4711", pause, stopBody, c.header); status != c.change || !strings.Contains(body, c.changeSay) {
				t.Errorf("change: %d %s; want %d with %q", status, body, c.change, c.changeSay)
			}
			w.rollouts.Put(fraud())
		})
	}
}

// Every procedure that the service has, so that a new one can't be forgotten.
func TestEveryProcedureIsGuarded(t *testing.T) {
	methods := adminv1.File_understudy_admin_v1_admin_proto.Services().ByName("RolloutService").Methods()
	reads := map[string]bool{"ListRollouts": true, "GetRollout": true, "WatchRollouts": true, "Explain": true}
	w := newWorld(t, admin.Options{Tokens: tokens})
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		path := "/" + adminv1connect.RolloutServiceName + "/" + name
		if status, _ := post(w.Handler(), "127.0.0.1:1", path, `{}`, map[string]string{"Content-Type": "application/json"}); status != 401 {
			t.Errorf("%s without a token: %d, want 401", name, status)
		}
		status, body := post(w.Handler(), "127.0.0.1:1", path, `{}`, map[string]string{"Authorization": "Bearer " + viewerSecret})
		if denied := status == 403; denied == reads[name] {
			t.Errorf("%s as viewer: %d %s", name, status, body)
		}
	}
	for _, path := range []string{"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"} {
		if status, _ := post(w.Handler(), "127.0.0.1:1", path, ``, nil); status != 401 {
			t.Errorf("%s without a token: %d, want 401", path, status)
		}
	}
}

func TestRefusedCallersAreAudited(t *testing.T) {
	w := newWorld(t, admin.Options{Tokens: tokens})
	post(w.Handler(), "192.0.2.7:1", pause, stopBody, nil)
	post(w.Handler(), "192.0.2.7:2", get, getBody, map[string]string{"Authorization": "Bearer guess"})
	post(w.Handler(), "192.0.2.7:3", pause, stopBody, map[string]string{"Authorization": "Bearer " + viewerSecret})
	got := w.entries(t)
	want := []struct{ actor, remote, event, code string }{
		{"unknown", "192.0.2.7:1", "pause", "UNAUTHENTICATED"},
		{"unknown", "192.0.2.7:2", "read", "UNAUTHENTICATED"},
		{"eve", "192.0.2.7:3", "pause", "PERMISSION_DENIED"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d: %+v", len(got), len(want), got)
	}
	for i, e := range got {
		if e.Actor != want[i].actor || e.Remote != want[i].remote || e.Event != want[i].event || e.Code != want[i].code ||
			e.Outcome != admin.Refused || e.Refusal == "" {
			t.Errorf("entry %d: %+v; want %+v", i, e, want[i])
		}
		if strings.Contains(e.Refusal, "guess") {
			t.Errorf("entry %d holds the secret that was tried: %s", i, e.Refusal)
		}
	}
}

func TestAFloodOfStrangersDoesNotFillTheAudit(t *testing.T) {
	now := start
	w := newWorld(t, admin.Options{Tokens: tokens, Now: func() time.Time { return now }})
	for range 150 {
		post(w.Handler(), "192.0.2.7:1", pause, stopBody, nil)
	}
	if got := len(w.entries(t)); got != 100 {
		t.Fatalf("%d entries at once, want 100", got)
	}
	// Those with a credential are written all the same.
	post(w.Handler(), "192.0.2.7:3", pause, stopBody, map[string]string{"Authorization": "Bearer " + viewerSecret})
	now = now.Add(time.Second)
	post(w.Handler(), "192.0.2.7:1", pause, stopBody, nil)
	got := w.entries(t)
	if len(got) != 102 || got[100].Actor != "eve" || got[101].Suppressed != 50 {
		t.Fatalf("%d entries, last %+v; want 102, the last with 50 suppressed", len(got), got[len(got)-1])
	}
}

func TestATokenFileIsReadAgain(t *testing.T) {
	now := start
	path := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(operatorSecret + "\n")
	w := newWorld(t, admin.Options{Now: func() time.Time { return now }, Tokens: []admin.Token{{Name: "ci", Role: admin.RoleOperator, File: path}}})
	try := func(secret string) int {
		status, _ := post(w.Handler(), "192.0.2.7:1", get, getBody, map[string]string{"Authorization": "Bearer " + secret})
		return status
	}
	check := func(what, secret string, want int) {
		t.Helper()
		if got := try(secret); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	check("at start", operatorSecret, 200)
	write("another-secret-of-thirty-two-char")
	now = now.Add(time.Second)
	check("new secret", "another-secret-of-thirty-two-char", 200)
	check("old secret", operatorSecret, 401)
	for _, broken := range []func(){func() { write(" \n") }, func() { os.Remove(path) }, func() { write(strings.Repeat("x", 5000)) }} {
		broken()
		now = now.Add(time.Second)
		check("broken file", "another-secret-of-thirty-two-char", 401)
		check("broken file, empty secret", "", 401)
	}
	if !strings.Contains(w.log.String(), "restore the file") {
		t.Errorf("log says nothing of the file: %s", w.log)
	}
	write(operatorSecret)
	now = now.Add(time.Second)
	check("file is back", operatorSecret, 200)
}

func TestInvalidTokensStopTheStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ok := admin.Token{Name: "ci", Role: admin.RoleViewer, Secret: viewerSecret}
	for want, tokens := range map[string][]admin.Token{
		"name is empty":                     {{Role: admin.RoleViewer, Secret: viewerSecret}},
		"used twice":                        {ok, ok},
		"want viewer, operator or reporter": {{Name: "ci", Secret: viewerSecret}},
		"neither file nor secret":           {{Name: "ci", Role: admin.RoleViewer}},
		"is empty; write":                   {{Name: "ci", Role: admin.RoleViewer, File: empty}},
		"no such file":                      {{Name: "ci", Role: admin.RoleViewer, File: empty + "not"}},
		"same secret as token":              {ok, {Name: "cd", Role: admin.RoleViewer, Secret: viewerSecret}},
	} {
		_, err := admin.New(admin.Options{Rollouts: newWorld(t, admin.Options{}).rollouts, Tokens: tokens})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an error about %q", err, want)
		}
	}
}

func TestAShortTokenIsWarnedAbout(t *testing.T) {
	w := newWorld(t, admin.Options{Tokens: []admin.Token{{Name: "ci", Role: admin.RoleViewer, Secret: "short"}}})
	if got := w.log.String(); !strings.Contains(got, "openssl rand") || strings.Contains(got, "token=short") {
		t.Errorf("log: %s", got)
	}
}

func TestRoleNames(t *testing.T) {
	for _, r := range []admin.Role{admin.RoleViewer, admin.RoleOperator, admin.RoleReporter} {
		if got, err := admin.ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%s: %v, %v", r, got, err)
		}
	}
	if _, err := admin.ParseRole("none"); err == nil || !strings.Contains(err.Error(), "want viewer, operator or reporter") {
		t.Errorf("none: %v", err)
	}
}

func TestActorsAreTheTokensNames(t *testing.T) {
	w := newWorld(t, admin.Options{Tokens: tokens})
	post(w.Handler(), "192.0.2.7:9", pause, stopBody, map[string]string{"Authorization": "Bearer " + operatorSecret})
	if e := w.entries(t)[0]; e.Actor != "ci" || e.Remote != "192.0.2.7:9" || e.Outcome != admin.Accepted {
		t.Errorf("%+v", e)
	}
	local := newWorld(t, admin.Options{})
	if _, err := local.direct().Pause(context.Background(), pauseRequest(3)); err != nil {
		t.Fatal(err)
	}
	if e := local.entries(t)[0]; e.Actor != "local" || e.Remote != "127.0.0.1:1234" {
		t.Errorf("%+v", e)
	}
	if v, _ := local.rollouts.Get("fraud"); v.Changes[0].Actor != "local" || v.Changes[0].Reason != "lunch" {
		t.Errorf("%+v", v.Changes[0])
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/understudy-serving/understudy/admin"
	"github.com/understudy-serving/understudy/admin/admintest"
)

// status runs `understudy status` and returns the exit code and what it said.
func status(args ...string) (int, string) {
	var out bytes.Buffer
	code := run(context.Background(), append([]string{"status"}, args...), &out, &out)
	return code, out.String()
}

func quiet(s *httptest.Server) *httptest.Server {
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return s
}

func TestWhatIsSaidOfOtherServers(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>welcome</html>") })
	plain := httptest.NewServer(page)
	defer plain.Close()
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	secret := make(chan string, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { secret <- r.Header.Get("Authorization") }))
	defer elsewhere.Close()
	redirect := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	secure := quiet(httptest.NewUnstartedServer(page))
	secure.StartTLS()
	defer secure.Close()

	for name, c := range map[string]struct{ url, want string }{
		"a web server":           {plain.URL, "not as an admin port of Understudy"},
		"a server without it":    {missing.URL, "not as an admin port of Understudy"},
		"a redirect":             {redirect.URL, "not as an admin port of Understudy"},
		"https spoken in plain":  {strings.Replace(secure.URL, "https", "http", 1), "check --admin (http or https?"},
		"plain spoken in https":  {strings.Replace(plain.URL, "http", "https", 1), "answers in plain HTTP"},
		"a certificate unknown":  {secure.URL, "name its authority with --ca"},
		"a name that is not one": {"http://no-such-host.invalid:8082", "--admin"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("UNDERSTUDY_TOKEN", "secret")
			code, said := status("--admin", c.url)
			if code != exitFailed || !strings.Contains(said, c.want) || !strings.Contains(said, c.url) || strings.Count(said, "\n") != 1 {
				t.Errorf("exit code %d, said %q; want one line with %q", code, said, c.want)
			}
		})
	}
	select {
	case s := <-secret:
		t.Errorf("the redirect was followed with %q", s)
	default:
	}
}

func TestTLSWithItsOwnAuthority(t *testing.T) {
	s, err := admin.New(admin.Options{Rollouts: admintest.New(time.Now, spam())})
	if err != nil {
		t.Fatal(err)
	}
	secure := quiet(httptest.NewUnstartedServer(s.Handler()))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := status("--admin", secure.URL, "--ca", ca); code != exitOK || !strings.Contains(said, "spam") {
		t.Errorf("exit code %d, said %s", code, said)
	}
}

func TestInterrupted(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-release
	}))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	var said bytes.Buffer
	if code := run(ctx, []string{"status", "--admin", s.URL}, io.Discard, &said); code != exitFailed || said.String() != "understudy: interrupted\n" {
		t.Errorf("exit code %d, said %q", code, &said)
	}
}

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestDemoRefusesFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--output yaml", `"text" or "json"`},
		{"--output json", "--once"},
		{"--step 2m", "0s to 1m"},
		{"--step -1s", "0s to 1m"},
		{"--once --step 10s", "at most 5s"},
		{"--rate -1", "0 to 2000"},
		{"--rate 2001", "0 to 2000"},
		{"--grpc-port 65536", "--grpc-port 65536: want 0 to 65535"},
		{"--admin-port -1", "--admin-port -1"},
		{"--kafka-port 99999", "--kafka-port 99999"},
		{"extra", "unknown command"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"demo"}, strings.Fields(c.args)...), &out, &errs)
		if code != exitFailed || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("demo %s: exit %d, %q, want %q", c.args, code, errs.String(), c.want)
		}
	}
}

func TestDemoHelpNamesEveryField(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"demo", "--help"}, &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, field := range []string{"requests", "client_errors", "records_expected", "records_on_topic", "promoted", "rolled_back",
		"steps_passed", "challenger_calls_after_trip", "rollback_ms", "user_errors_during_rollback", "vetoes", "wrong_live_calls", "wrong_answers",
		"wrong_disagreement", "clinic_disagreement", "others_disagreement", "report"} {
		if !strings.Contains(out.String(), field) {
			t.Errorf("the help does not explain %s", field)
		}
	}
}

func TestOwnCommandWhileTesting(t *testing.T) {
	t.Setenv("PATH", "")
	if got := ownCommand(); got != "go run ./cmd/understudy" {
		t.Errorf("a binary of go's own would be gone: %q", got)
	}
}

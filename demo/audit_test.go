package demo

import (
	"os"
	"path/filepath"
	"testing"
)

// auditLog writes an audit log and returns its path.
func auditLog(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAStepHasPassedWhereAllItsGatesHave(t *testing.T) {
	path := auditLog(t, `{"model":"m","event":"start","actor":"config"}
{"model":"m","event":"advance","actor":"gateway","evidence":{"gates":[{"name":"error-rate","verdict":"pass"},{"name":"disagreement","verdict":"pass"}]}}
{"model":"m","event":"advance","actor":"gateway","evidence":{"gates":[{"name":"error-rate","verdict":"pass"},{"name":"disagreement","verdict":"inconclusive"}]}}
{"model":"m","event":"advance","actor":"gateway","evidence":{}}
{"model":"m","event":"promote","actor":"gateway","evidence":{"gates":[{"name":"error-rate","verdict":"pass"}]}}
{"model":"n","event":"advance","actor":"gateway","evidence":{"gates":[{"name":"error-rate","verdict":"pass"}]}}
`)
	all, err := readAudit(path, "m")
	if err != nil || len(all) != 5 {
		t.Fatalf("%d decisions, %v", len(all), err)
	}
	if got := stepsPassed(all); got != 1 {
		t.Errorf("%d steps passed, want 1", got)
	}
}

func TestVetoIsAGatesInShadow(t *testing.T) {
	const gates = `"evidence":{"gates":[{"name":"disagreement","verdict":"pass"},{"name":"disagreement","segment":"clinic=east","verdict":"fail"}]}`
	for line, want := range map[string]string{
		`{"model":"m","event":"rollback","actor":"gate","before":{"mode":"shadow"},` + gates + `}`:                                                   "disagreement (clinic=east)",
		`{"model":"m","event":"rollback","actor":"gate","before":{"mode":"canary"},` + gates + `}`:                                                   "",
		`{"model":"m","event":"rollback","actor":"breaker","before":{"mode":"shadow"},` + gates + `}`:                                                "",
		`{"model":"m","event":"retry","actor":"gate","before":{"mode":"shadow"},` + gates + `}`:                                                      "",
		`{"model":"n","event":"rollback","actor":"gate","before":{"mode":"shadow"},` + gates + `}`:                                                   "",
		`{"model":"m","event":"rollback","actor":"gate","before":{"mode":"shadow"},"evidence":{"gates":[{"name":"disagreement","verdict":"fail"}]}}`: "disagreement",
	} {
		all, err := readAudit(auditLog(t, line+"\n"), "m")
		if got := veto(all).String(); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", line, got, err, want)
		}
	}
}

func TestAnAuditLogThatIsNone(t *testing.T) {
	if _, err := readAudit(auditLog(t, "{"), "m"); err == nil {
		t.Error("half a line was read")
	}
	if _, err := readAudit(filepath.Join(t.TempDir(), "none"), "m"); err == nil {
		t.Error("no file was read")
	}
}

package demo

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestSummaryIsTheContractsObject(t *testing.T) {
	text, err := json.MarshalIndent(good(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "summary.json", string(text)+"\n")
}

func TestTable(t *testing.T) {
	bad := good()
	bad.ClientErrors, bad.ChallengerCallsAfterTrip = 1, 1
	bad.first.users.FirstError = errors.New("gone")
	golden(t, "table.txt", strings.Join(append(good().table(&Screen{}), bad.table(&Screen{})...), "\n")+"\n")
}

package demo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// decision is what the audit log says of a change: who made it, from which mode, and
// what the gates said at that moment.
type decision struct {
	Model    string `json:"model"`
	Event    string `json:"event"`
	Actor    string `json:"actor"`
	Before   struct{ Mode string }
	Evidence struct{ Gates []verdict }
}

// verdict is a gate's. Segment names a cohort; it is empty for all requests.
type verdict struct{ Name, Segment, Verdict, Why string }

// readAudit returns the model's decisions in their order.
func readAudit(path, model string) ([]decision, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []decision
	for lines := json.NewDecoder(bytes.NewReader(text)); ; {
		var d decision
		err := lines.Decode(&d)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("audit log: %w", err)
		case d.Model == model:
			all = append(all, d)
		}
	}
}

// stepsPassed counts the steps that ended with a pass by every gate that judged them.
func stepsPassed(all []decision) (n int) {
	for _, d := range all {
		gates := d.Evidence.Gates
		failing := slices.ContainsFunc(gates, func(v verdict) bool { return v.Verdict != "pass" })
		if d.Event == "advance" && len(gates) > 0 && !failing {
			n++
		}
	}
	return n
}

// veto returns the gate that ended a rehearsal in shadow, by name and with its cohort, if
// one did; empty else.
func veto(all []decision) (v verdict) {
	for _, d := range all {
		if d.Event != "rollback" || d.Actor != gateActor || d.Before.Mode != "shadow" {
			continue
		}
		if i := slices.IndexFunc(d.Evidence.Gates, func(v verdict) bool { return v.Verdict == "fail" }); i >= 0 {
			return d.Evidence.Gates[i]
		}
	}
	return v
}

// String is the gate's name, with its cohort if it has one.
func (v verdict) String() string {
	if v.Segment == "" {
		return v.Name
	}
	return v.Name + " (" + v.Segment + ")"
}

package demo

import (
	"bytes"
	_ "embed"
	"fmt"
	"path/filepath"
	"text/template"
	"time"
)

//go:embed understudy.yaml.tmpl
var yamlTemplate string

const (
	// hangTimeout is the challenger's budget in act 2.
	hangTimeout = 250 * time.Millisecond
	// consecutiveFailures trip the breaker in act 2.
	consecutiveFailures = 10
	// maxDisagreement is the largest share of pairs, in percent, that may disagree.
	maxDisagreement = 15
)

// settings is what the demo's config file depends on.
type settings struct {
	GRPCPort, AdminPort int
	Broker              string
	// Dir holds spool, state and audit log.
	Dir string
	// Step is the time at each step of the plans.
	Step time.Duration
	// The servers' addresses by act.
	Act1, Act2, Act3a, Act3b targets
}

type targets struct {
	Model, Champion, Challenger string
}

// ChampionName and ChallengerName are the names at the targets.
func (t targets) ChampionName() string { return championName(t.Model) }

// ChallengerName is the challenger's name at its target.
func (t targets) ChallengerName() string { return challengerName(t.Model) }

// yaml writes the config file, comments and all.
func (s settings) yaml() ([]byte, error) {
	t, err := template.New("understudy.yaml").Parse(yamlTemplate)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, struct {
		settings
		ChampionVersion, ChallengerVersion, Topic, SpoolPath, StorePath, AuditPath string
		UserKey, ClinicKey                                                         string
		HangTimeout                                                                time.Duration
		ConsecutiveFailures, MaxDisagreement                                       int
	}{
		s, championVersion, challengerVersion, topic,
		filepath.Join(s.Dir, "spool"), filepath.Join(s.Dir, "state.db"), filepath.Join(s.Dir, "audit.jsonl"),
		userKey, clinicKey, hangTimeout, consecutiveFailures, maxDisagreement,
	})
	if err != nil {
		return nil, fmt.Errorf("config of the demo: %w", err)
	}
	return out.Bytes(), nil
}

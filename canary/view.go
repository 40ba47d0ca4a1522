package canary

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/understudy-serving/understudy/rollout"
)

// view returns what operators see of the model; ok is false where the file no longer
// names it.
func (c *Conductor) view(m *model) (v rollout.View, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.withdrawn || m.live.Evidence == nil {
		return v, false
	}
	m.accrue(c.o.Elapsed())
	s, breaker := m.live.State, m.breakerState()
	// The caller may keep and change what it gets.
	s.Plan, s.Changes = slices.Clone(s.Plan), slices.Clone(s.Changes)
	v = rollout.View{State: s, Progress: m.progress(), Figures: m.figures(), Breaker: breaker, Warnings: m.warnings(c.o.Elapsed())}
	j := readiness(s, v.Progress, breaker, m.judgement)
	v.WaitingFor, v.Remaining = j.waiting, j.remaining
	return v, true
}

// breakerState is empty without a challenger. mu is held.
func (m *model) breakerState() string {
	if m.live.Breaker == nil {
		return ""
	}
	return m.live.Breaker.State()
}

// grace is how long what is in force may take to be written down before operators are
// warned: normally it is milliseconds, and a warning of that would only frighten.
const grace = time.Second

// warnings say what needs an operator's eye. mu is held.
func (m *model) warnings(now time.Duration) (all []string) {
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	why := cmp.Or(m.trouble, "not tried yet")
	switch {
	case !m.loaded && m.asked != nil:
		warn("the stored state can't be read: the champion serves alone, and the rollback asked for comes into force with the state: %s", why)
	case !m.loaded:
		warn("the stored state can't be read: the champion serves alone until it can be: %s", why)
	case !m.settled:
		warn("the config file's change waits: %s", why)
	case m.trouble != "":
		warn("the rollout holds: %s", why)
	}
	if d := m.owed; d != nil && (d.trouble != "" || now-d.since > grace) {
		warn("rollback not stored yet, a restart would forget it: %s", cmp.Or(d.trouble, "under way"))
	}
	if due := m.unaudited; len(due) > 0 && (m.auditTrouble != "" || now-due[0].since > grace) {
		warn("%s not in the audit log yet, and the plan holds until it is: see to the audit file: %s",
			m.entriesDue(), cmp.Or(m.auditTrouble, "under way"))
	}
	if j := m.judgement; j.Split.Void && j.Entered == m.live.State.Entered {
		warn("the split is broken: %s", j.Split.Why)
	}
	if why := unlike(m.judgement); why != "" && m.judgement.Entered == m.live.State.Entered && m.live.State.Recorded() {
		warn("%s", why)
	}
	if m.live.State.ChampionRolledBack(m.conf.Configured) {
		warn("%s", championRolledBack(m.live.State))
	}
	if m.live.State.Unfinished(m.conf.Configured) {
		warn("promotion unfinished: set champion to %s in the file", m.live.State.Challenger)
	}
	return all
}

// championRolledBack says what to do about a file that rollout.State.ChampionRolledBack
// is about.
func championRolledBack(s rollout.State) string {
	return "the file's champion is the challenger that was rolled back: " + s.Champion.String() +
		" keeps serving; set champion back to it, or name another champion; to rehearse " + s.Challenger.String() +
		" again, name it as challenger of " + s.Champion.String() + ", reload and retry"
}

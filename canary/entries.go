package canary

import "strings"

// What is audited after it was made: rollbacks, and what plan and file decide. An entry
// that can't be written is owed, and the plan holds until it is.

// oweEntry has payDebts audit a change that has been made. m.mu is held.
func (c *Conductor) oweEntry(m *model, p proposal) {
	p.since = c.o.Elapsed()
	m.unaudited = append(m.unaudited, p)
	nudge(c.owing)
}

// audit writes the model's entries that are owed.
func (c *Conductor) audit(m *model) {
	c.auditing.Lock()
	defer c.auditing.Unlock()
	for {
		m.mu.Lock()
		if len(m.unaudited) == 0 {
			m.auditTrouble = ""
			m.mu.Unlock()
			return
		}
		p := m.unaudited[0]
		m.mu.Unlock()
		err := c.o.Audit.Change(p.before, p.after, p.event, p.figures)
		c.tellAudit(p, err)
		m.mu.Lock()
		if err != nil {
			m.auditTrouble = err.Error()
			m.mu.Unlock()
			return
		}
		m.unaudited = m.unaudited[1:]
		m.mu.Unlock()
	}
}

// tellAudit tells the log, once an outage, that the audit log can't be written. auditing
// is held.
func (c *Conductor) tellAudit(p proposal, err error) {
	switch {
	case err != nil && !c.auditDown:
		c.o.Logger.Error("a change was made but can't be written to the audit log; tried again until it can be: see to the audit file, its disk and its permissions",
			"model", p.after.Model, "event", string(p.event.Kind), "actor", p.event.Actor, "reason", p.event.Reason,
			"before", p.before.Revision, "after", p.after.Revision, "error", err)
	case err == nil && c.auditDown:
		c.o.Logger.Info("the audit log can be written again")
	}
	c.auditDown = err != nil
}

// entriesDue names the changes that are not audited yet, oldest first: "advance, rollback".
// m.mu is held.
func (m *model) entriesDue() string {
	var kinds []string
	for _, p := range m.unaudited {
		kinds = append(kinds, string(p.event.Kind))
	}
	return strings.Join(kinds, ", ")
}

package rollout

import (
	"slices"
	"time"
)

// Configured is what the config file says of one model.
type Configured struct {
	Model    string
	Champion Spec
	// Challenger is the zero Spec where the file has none.
	Challenger Spec
	Plan       Plan
	Rules      Rules
}

// Configure returns the state that a config file leads to, given the stored one (the
// zero State where nothing is stored), and whether anything is to be stored.
//
//   - A new challenger spec starts a new rollout; so does a new champion during one,
//     for the evidence was against the old one.
//   - A rolled-back challenger stays rolled back, also when the file drops it and
//     names it again, and when the file makes it champion; see ChampionRolledBack.
//   - A promoted challenger keeps serving until the file's champion equals it.
//   - A plan that changed alone waits for the next rollout or retry.
//   - A challenger that is the champion is none: so a finished promotion may leave it in
//     the file.
func (s State) Configure(c Configured, now time.Time) (next State, changed bool) {
	if s.ChampionRolledBack(c) {
		return s, false
	}
	if c.Challenger == c.Champion {
		c.Challenger = Spec{}
	}
	next = s
	next.Model = c.Model
	next.Revision++
	// The challenger that this file starts on stage, if it starts one.
	begin := func(reason string) (State, bool) {
		next.Champion, next.Challenger, next.Plan, next.Rules = c.Champion, c.Challenger, slices.Clone(c.Plan), c.Rules
		if !next.HasChallenger() {
			next.Mode, next.Weight, next.Step, next.Paused, next.Override = ModeChampion, 0, 0, false, false
			return next.log(Event{Kind: EventConfigure, Actor: "config", Reason: reason}, now), true
		}
		next.start()
		return next.log(Event{Kind: EventStart, Actor: "config", Reason: reason}, now), true
	}
	switch {
	case s.Revision == 0:
		return begin("new model")
	case s.Mode == ModePromoted && c.Champion != s.Challenger:
		return s, false
	case s.Mode == ModePromoted && c.Challenger == Spec{}:
		return begin("promotion finished: the file's champion is the promoted challenger")
	case s.Mode == ModeRolledBack && (c.Challenger == s.Challenger || c.Challenger == Spec{}):
		if c.Champion == s.Champion {
			return s, false
		}
		next.Champion = c.Champion
		return next.log(Event{Kind: EventConfigure, Actor: "config", Reason: "champion changed"}, now), true
	case c.Challenger != s.Challenger:
		return begin("challenger changed to " + c.Challenger.String())
	case c.Champion != s.Champion:
		return begin("champion changed to " + c.Champion.String())
	}
	return s, false
}

// ChampionRolledBack tells whether the file makes the challenger that was rolled back
// the champion, with no other challenger beside it. It would answer everything without a
// retry, so the file waits and the champion before keeps serving.
func (s State) ChampionRolledBack(c Configured) bool {
	return s.Mode == ModeRolledBack && s.HasChallenger() && c.Champion == s.Challenger &&
		(c.Challenger == Spec{} || c.Challenger == s.Challenger)
}

// Unfinished tells whether a promotion still waits for the file to name the promoted
// spec as champion.
func (s State) Unfinished(c Configured) bool {
	return s.Mode == ModePromoted && c.Champion != s.Challenger
}

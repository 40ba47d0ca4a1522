// Package canary decides how much of the stage the challenger gets.
//
// On the data path are three things without locks of their own to wait for: the split
// (Pick, Sampled: pure functions), the Breaker, and the Evidence (counters). Off the
// path is the Conductor: it owns each model's rollout.State, moves it along its plan,
// rolls it back when the breaker trips, and keeps it in a Store.
package canary

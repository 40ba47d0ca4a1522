// Package rollout is the domain: the words of the project as types, and the rules
// by which a rollout moves. It does no I/O, holds no clock and starts no goroutine;
// everything here is a value or a pure function of (state, evidence, now).
package rollout

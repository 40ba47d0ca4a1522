// Sim measures what the gates promise, on simulated rollouts.
//
//	make sim                  every claim, about 15 minutes on two cores; writes docs/decisions.md
//	QUICK=1 make sim          the same claims on fewer and shorter runs, under two minutes
//	go run ./sim --list       the claims there are
//	go run ./sim --only split those whose name matches
//
// A claim about a chance holds where the upper 99 % end (Clopper and Pearson) of the share
// measured is within its limit; one about a median, where the median is. All of it is the
// product's own code: claims about arithmetic feed counts to gate.Checkpoint, and look after
// every bad request; claims about what is counted, and when, go through package simulation,
// the whole path with the product's own clock. The claims also stand in build/sim.json, and
// the exit code is 1 where one is not met.
//
// Beside them it plays the same traffic to three judges, Understudy and two rules as they are
// in wide use, for the tables and plots of docs/decisions.md.
package main

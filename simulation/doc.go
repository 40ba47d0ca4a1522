// Package simulation plays rollouts on made-up traffic in made-up time, through the
// product's own split, evidence, gates, plan and conductor. Only the gateway's part, which
// calls models, is replaced: Run draws what each arm would have said. One seed gives one
// rollout, whatever the machine.
//
// Left out is the breaker's share of failures within a window, for that runs on the
// system's clock: its failures in a row are counted, and what it would have caught is
// caught by a gate a moment later. A breaker that opens in shadow ends a run, for its
// probes run on that clock too.
package simulation

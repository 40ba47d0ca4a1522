// Package app is the one place that wires: it makes the parts from a configuration,
// plugs them into each other, runs them, and takes them down in order.
package app

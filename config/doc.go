// Package config turns understudy.yaml into values of the domain: parsed strictly,
// defaults applied, validated. It is the only place that knows the file's shape.
//
// A file is read key by key from its syntax tree, so that every complaint carries the
// line of the value that caused it, and one run reports them all. A key that is not
// known is an error, and so is one whose feature is not built yet; nothing is ignored.
// Nothing is expanded: no environment variables, no templates.
package config

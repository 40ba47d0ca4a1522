// Package shadow rehearses the challenger: it sends copies of live requests to it,
// behind the client's back and off the champion's path, and compares what both arms
// said.
package shadow

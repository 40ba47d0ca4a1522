// Package oip reads and edits messages of the Open Inference Protocol in wire form.
//
// It has two layers, each usable without the other:
//
//   - Peek and WithNames: the header fields (model name, version, id, parameters) of a
//     message that lies in chunks as the transport received it. One pass over the
//     top-level fields; tensors are skipped, never decoded; an edited message shares
//     the chunks of the original.
//   - Inputs, Outputs and Tensor: typed views on tensors, for whoever must look into
//     them, off the path of the client.
//
// Messages follow protobuf's rules: fields in any order, the last of a repeated scalar
// wins, unknown fields are kept. Stricter than protobuf, groups are refused: no message
// of the protocol has had them, and nobody should forward what nobody can read.
package oip

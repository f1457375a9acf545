// Package conf reads configuration files: YAML 1.2, decoded strictly, with
// every mistake of a file reported at once as file:line:col: message.
//
// It is a decoder of its own over the parser of goccy/go-yaml. A document is
// turned into a bounded tree of [Node] values that know their place; decoding
// lays a node over the defaults that a Go value already holds. What is strict:
//
//   - A key that the Go type does not have is an error; so is a key given
//     twice, and a scalar of another type than the field's. A number where
//     text is wanted has to be quoted: YAML would read 1.10 as 1.1.
//   - Booleans are true and false, nothing else. Integers are range-checked
//     and have no leading zeros, which older YAML reads as octal. Durations
//     have a unit (or are 0) and are not negative.
//   - Null keeps the default. Structs and maps are laid over theirs, lists
//     replace it.
//   - After a struct was decoded its Validate method is called, inner structs
//     first. Validate names fields by path (see [FieldError]); the decoder
//     finds their place.
//
// Anchors, aliases and merge keys are followed, within the bounds [MaxNodes]
// and [MaxDepth] counted after expansion. Tags, directives and keys that are
// no scalars are refused.
package conf

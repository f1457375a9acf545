// Package imports keeps the rules of who may import whom: its tests read the
// module's packages with go list and fail on a ban, with the reason for it.
//
// There are two sorts of rule. One is about what a package says itself, its
// tests included; the other about what a program links in the end, by
// whatever way.
package imports

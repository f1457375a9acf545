// Package store says what the control plane keeps across its own restarts, and
// what a keeper of it must promise. The implementations stand in folders of
// their own (bolt); storetest is the suite that all of them pass.
//
// Two things are kept. Collections hold the objects that people and programs
// apply, under revisions that only grow, with a bounded past. Nodes are who
// registered, for how long, and what: ephemeral state, outside of any revision;
// the newest word replaces the one before, and heartbeats are never stored.
package store

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
)

// NodeKey identifies a node: one sidecar, over its restarts.
type NodeKey struct {
	Network string `json:"network"`
	Node    string `json:"node"`
}

// String is network/node.
func (k NodeKey) String() string { return k.Network + "/" + k.Node }

// Compare orders keys by network, then node.
func (k NodeKey) Compare(o NodeKey) int {
	return cmp.Or(strings.Compare(k.Network, o.Network), strings.Compare(k.Node, o.Node))
}

// Node is one node's lease and what it registered under it.
type Node struct {
	NodeKey
	// TTL is how long the instances are kept after the node was last heard of.
	TTL time.Duration `json:"ttl"`
	// Epoch tells the node's processes apart: a later process has a larger one.
	Epoch int64 `json:"epoch"`
	// Agent is the program and version that registered, for people.
	Agent string `json:"agent,omitempty"`
	// Instances is everything that the node registered, never a part of it.
	Instances []registry.Instance `json:"instances,omitempty"`
}

// Store keeps nodes and collections. All methods may be called from any
// goroutine. A change is durable when its method returned nil; when it returned
// an error it is not known whether it was made.
type Store interface {
	Collections
	// Nodes are all nodes, in the order of their keys.
	Nodes(ctx context.Context) ([]Node, error)
	// PutNode stores n in place of what was known of its key.
	PutNode(ctx context.Context, n Node) error
	// DeleteNode forgets a node. To forget an unknown one is no error.
	DeleteNode(ctx context.Context, key NodeKey) error
	// Close waits for running calls and releases what the store holds.
	Close() error
}

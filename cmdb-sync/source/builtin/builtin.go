// Package builtin is the list of the kinds of sources that cmdb-sync has. A
// new one is a folder beside this one and a line here.
package builtin

import (
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source/csv"
)

// Kinds are the kinds of sources, in the order of their documentation.
func Kinds() []source.Kind {
	return []source.Kind{
		csv.Kind(),
	}
}

// Command cmdb-sync pulls machine metadata out of a CMDB, plans the difference to
// what the mesh knows, refuses what looks like a broken source, and applies
// the rest to the control plane.
package main

import "github.com/outrigger-mesh/outrigger/cmdb-sync/command"

func main() { command.Main() }

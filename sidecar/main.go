// Command sidecar is the mesh's data plane: beside an app it takes the app's
// inbound and outbound HTTP; without one it is an entry gateway.
package main

import (
	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/command"
)

func main() { command.Main(builtin.Kinds()...) }

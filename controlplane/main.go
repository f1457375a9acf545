// Command controlplane merges what sidecars register and what files declare
// into one model of services, and serves it over xDS.
package main

import "github.com/outrigger-mesh/outrigger/controlplane/command"

func main() { command.Main() }

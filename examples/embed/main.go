// Command embed is a Go-Micro service whose server is Outrigger's proxy: it
// stands before the app on 127.0.0.1:8080 and is registered under its name in
// the registry that Go-Micro was given, here the one in memory.
//
// The same proxy runs by itself, without micro.Service, with server.New(...),
// Start and Stop.
package main

import (
	"log/slog"
	"os"

	"go-micro.dev/v4" //nolint:depguard // the service is what this example is about; the sidecar does without it
	"go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/sidecar/server"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	service := micro.NewService(
		// The server comes first: what follows is handed to it.
		micro.Server(server.New(server.ConfigFile("sidecar.yaml"), server.Logger(log))),
		micro.Name("orders"),
		micro.Version("v1"),
		micro.Registry(registry.NewMemoryRegistry()),
	)
	if err := service.Run(); err != nil {
		log.Error("embed", "error", err)
		os.Exit(1) //nolint:forbidigo // a program of somebody else's has no run group of ours
	}
}

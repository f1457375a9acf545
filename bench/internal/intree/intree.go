// Package intree is the proxies that the benchmark brings itself: the smallest
// that one would write with net/http and with fasthttp, set up for many
// connections. They run as processes of their own.
package intree

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/outrigger-mesh/outrigger/internal/run"
)

// idlePerHost is how many connections to the backend are kept.
const idlePerHost = 256

// bufferSize is that of the buffers which bodies are copied through.
const bufferSize = 32 << 10

// Main runs a proxy until ctx ends: reverseproxy or fasthttp, with -listen and
// -backend as host:port.
func Main(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return run.Usage(errors.New("proxy: name one, reverseproxy or fasthttp"))
	}
	flags := flag.NewFlagSet("proxy "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it
	listen := flags.String("listen", "", "")
	backend := flags.String("backend", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return run.Usage(err)
	}
	if *listen == "" || *backend == "" {
		return run.Usage(errors.New("proxy: -listen and -backend are needed, as host:port"))
	}
	switch args[0] {
	case "reverseproxy":
		return reverseProxy(ctx, *listen, *backend)
	case "fasthttp":
		return fastHTTP(ctx, *listen, *backend)
	default:
		return run.Usage(fmt.Errorf("proxy: there is no %q, only reverseproxy and fasthttp", args[0]))
	}
}

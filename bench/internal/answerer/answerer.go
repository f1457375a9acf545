// Package answerer is the backend that speaks HTTP/2: it answers every request
// with the same bytes, at as little cost as can be, since it runs on the same
// machine as what is measured. It runs as a process of its own.
//
// It checks what a proxy could get wrong at the expense of others: the size of a
// request's body. It does not look at header fields.
package answerer

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/outrigger-mesh/outrigger/bench/internal/h2wire"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// Subcommand is the hidden one by which the benchmark's own program runs Main.
const Subcommand = "answer"

// The kinds of answers.
const (
	HTTP = "http" // status, fields and a body
	GRPC = "grpc" // the same with one message as the body, and trailers
	// Hold answers nothing: what waits is there to be looked at. It takes
	// HTTP/1.1 as well.
	Hold = "hold"
)

// Prefix is what stands before a gRPC message: a byte that says whether it is
// compressed, and its length (the gRPC protocol over HTTP/2,
// Length-Prefixed-Message).
const Prefix = 5

// streams is how many may be open on a connection: more than a proxy would put
// on one by itself.
const streams = 1000

// options are what is answered.
type options struct {
	kind     string
	request  int // bytes of a request's body
	response int // bytes of an answer's body, without Prefix
}

// Main runs the backend until ctx ends: -listen host:port -kind KIND -request N
// -response N.
func Main(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet(Subcommand, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says it
	listen := flags.String("listen", "", "")
	flags.StringVar(&o.kind, "kind", HTTP, "")
	flags.IntVar(&o.request, "request", 0, "")
	flags.IntVar(&o.response, "response", 0, "")
	if err := flags.Parse(args); err != nil {
		return run.Usage(err)
	}
	const most = h2wire.MaxFrame - Prefix
	switch {
	case *listen == "":
		return run.Usage(errors.New("answer: -listen is needed, as host:port"))
	case o.kind != HTTP && o.kind != GRPC && o.kind != Hold:
		return run.Usage(fmt.Errorf("answer: -kind must be %s, %s or %s, is %q", HTTP, GRPC, Hold, o.kind))
	case o.request < 0 || o.response < 0 || o.response > most:
		return run.Usage(fmt.Errorf("answer: -request must be from 0 and -response from 0 to %d, are %d and %d", most, o.request, o.response))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", *listen)
	if err != nil {
		return err
	}
	return serve(ctx, l, o)
}

// serve answers on every connection until ctx ends.
func serve(ctx context.Context, l net.Listener, o options) error {
	var mu sync.Mutex
	open := map[net.Conn]struct{}{}
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			_ = c.Close()
		}
	})
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = nc.Close()
			}
			return nil
		}
		if err != nil {
			return err
		}
		mu.Lock()
		open[nc] = struct{}{}
		mu.Unlock()
		all.Go(func() {
			c := newConn(nc, o)
			_ = c.serve() // that it ended is seen by the other side
			_ = nc.Close()
			mu.Lock()
			defer mu.Unlock()
			delete(open, nc)
		})
	}
}

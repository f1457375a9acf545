package intree

import (
	"context"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// fastHTTP serves with fasthttp's server and its client of one host.
func fastHTTP(ctx context.Context, listen, backend string) error {
	client := &fasthttp.HostClient{
		Addr:                          backend,
		MaxConns:                      4 * idlePerHost,
		MaxIdleConnDuration:           time.Hour,
		NoDefaultUserAgentHeader:      true,
		DisableHeaderNamesNormalizing: true,
		DisablePathNormalizing:        true,
	}
	server := &fasthttp.Server{
		NoDefaultServerHeader:         true,
		NoDefaultDate:                 true,
		NoDefaultContentType:          true,
		DisableHeaderNamesNormalizing: true,
		CloseOnShutdown:               true,
		Logger:                        silent{},
		Handler: func(c *fasthttp.RequestCtx) {
			if err := client.Do(&c.Request, &c.Response); err != nil {
				c.Error(err.Error(), fasthttp.StatusBadGateway)
			}
		},
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// silent drops what fasthttp says of broken connections.
type silent struct{}

func (silent) Printf(string, ...any) {}

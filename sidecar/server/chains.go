package server

import (
	"errors"
	"fmt"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// DefaultMiddleware is what runs where sidecar.yaml names no middleware, in
// the form of a middleware file.
const DefaultMiddleware = `
inbound:  [requestid, accesslog, metrics]
outbound: [requestid, metrics, retry]
gateway:  [requestid, accesslog, metrics, retry]
`

// chains are the chains of each direction.
type chains struct {
	generation                 *middleware.Generation
	inbound, outbound, gateway *middleware.Chains
}

// parseMiddleware reads the lists that the configuration names, with all errors
// at once.
func parseMiddleware(c *config.Config, kinds []middleware.Kind) (middleware.Lists, error) {
	if path, ok := c.MiddlewareFile(); ok {
		n, err := conf.Load(path)
		if err != nil {
			return middleware.Lists{}, fmt.Errorf("%s: %w", c.Middleware.Pos(), err)
		}
		return middleware.ParseLists(n, kinds)
	}
	if !c.Middleware.IsZero() && c.Middleware.Kind() != conf.Null {
		return middleware.ParseLists(c.Middleware, kinds)
	}
	n, err := conf.Parse("default middleware", []byte(DefaultMiddleware))
	if err != nil {
		return middleware.Lists{}, err
	}
	lists, err := middleware.ParseLists(n, kinds)
	if err != nil {
		return middleware.Lists{}, fmt.Errorf("the default chain needs kinds that this program was built without: set middleware in the configuration: %w", err)
	}
	return lists, nil
}

// buildChains makes the chains; nothing is running yet.
func buildChains(l middleware.Lists, e middleware.Env, states *middleware.States) (*chains, error) {
	g := states.NewGeneration()
	c := &chains{generation: g}
	var errs []error
	for _, d := range []struct {
		direction string
		list      middleware.List
		to        **middleware.Chains
	}{
		{middleware.Inbound, l.Inbound, &c.inbound},
		{middleware.Outbound, l.Outbound, &c.outbound},
		{middleware.Gateway, l.Gateway, &c.gateway},
	} {
		env := e.In(g)
		env.Direction = d.direction
		built, err := d.list.Build(env)
		errs = append(errs, err)
		*d.to = built
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return c, nil
}

func (c *chains) status() any {
	return map[string][]string{
		middleware.Inbound:  c.inbound.Entries,
		middleware.Outbound: c.outbound.Entries,
		middleware.Gateway:  c.gateway.Entries,
	}
}

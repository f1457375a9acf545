package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/orders"
)

// answeredOrder is the answer to one request.
type answeredOrder struct{ orders.Order }

func (o answeredOrder) promoInstance() string {
	if o.Promo == nil {
		return "nobody"
	}
	return o.Promo.Instance
}

func (o answeredOrder) promoID() string {
	if o.Promo == nil {
		return ""
	}
	return o.Promo.RequestID
}

// sameID reports whether all apps saw the same request id.
func (o answeredOrder) sameID() bool {
	return o.RequestID != "" && o.User.RequestID == o.RequestID && o.Item.RequestID == o.RequestID && o.promoID() == o.RequestID
}

// ids are the request ids that the apps saw, each once.
func (o answeredOrder) ids() string {
	all := []string{o.RequestID, o.User.RequestID, o.Item.RequestID, o.promoID()}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), ", ")
}

// order makes one request at the gateway.
func (a *acts) order(ctx context.Context) (string, answeredOrder, error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var order answeredOrder
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.shop.Addr("gateway")+"/orders/1", http.NoBody)
	if err != nil {
		return "", order, err
	}
	req.Host = shop.Host
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return "", order, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", order, err
	}
	if err := json.Unmarshal(body, &order); err != nil || resp.StatusCode != http.StatusOK {
		return "", order, fmt.Errorf("the gateway answered %d: %.300s", resp.StatusCode, body)
	}
	return string(body), order, nil
}

// awaitTraces waits until the access log of each of the named has the request,
// and returns the trace ids that they have for it: one, if all is well. They
// are written a moment after the answer.
func (a *acts) awaitTraces(ctx context.Context, requestID string, names ...string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var traces []string
	err := lab.Until(ctx, func(context.Context) error {
		traces = nil
		for _, name := range names {
			lines, err := a.shop.AccessLog(name, requestID)
			if err != nil {
				return err
			}
			if len(lines) == 0 {
				return fmt.Errorf("the access log of %s has no request %s", name, requestID)
			}
			for _, l := range lines {
				traces = append(traces, l.TraceID)
			}
		}
		return nil
	})
	slices.Sort(traces)
	return slices.Compact(traces), err
}

package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
)

// maxBody is how many bytes of objects go in one request. The API takes
// 32 MiB; what is larger goes in several requests, each on the revision that
// the one before made.
const maxBody = 24 << 20

// Applied is what the control plane made of a plan.
type Applied struct {
	Revision  string `json:"revision"`
	Changed   int    `json:"changed"`
	Unchanged int    `json:"unchanged"`
	Deleted   int    `json:"deleted"`
}

type applyRequest struct {
	Base   string            `json:"base"`
	Run    string            `json:"run,omitempty"`
	Put    []json.RawMessage `json:"put,omitempty"`
	Delete []string          `json:"delete,omitempty"`
}

// Apply sends a plan. The error wraps ErrStale where the hosts have changed
// since; nothing, or where the plan took several requests a part of it, is
// applied then. A request whose answer was lost, so that it was sent again, is
// found to be applied.
func (c *Client) Apply(ctx context.Context, p *plan.Plan) (Applied, error) {
	total, base := Applied{Revision: p.Base}, p.Base
	if base == "" {
		return total, errors.New("applying the plan: it has no base revision")
	}
	for at := 0; at < len(p.Changes); {
		body, next, err := chunk(p, at, base)
		if err != nil {
			return total, err
		}
		var answer Applied
		err = c.call(ctx, http.MethodPost, "/v1/hosts:apply", body, &answer)
		if err != nil {
			var status *StatusError
			if errors.As(err, &status) && status.Status == http.StatusConflict {
				return c.stale(ctx, p, total, base, c.tries > 1)
			}
			return total, fmt.Errorf("applying the plan: %w", err)
		}
		if answer.Revision == "" {
			return total, errors.New("applying the plan: the control plane's answer has no revision")
		}
		total.Changed += answer.Changed
		total.Unchanged += answer.Unchanged
		total.Deleted += answer.Deleted
		total.Revision, base, at = answer.Revision, answer.Revision, next
	}
	return total, nil
}

// stale finds out whether it was this very plan that moved the base: of a
// request that was sent again, the first may have been heard.
func (c *Client) stale(ctx context.Context, p *plan.Plan, total Applied, base string, again bool) (Applied, error) {
	if !again {
		return total, fmt.Errorf("%w: revision %s is no longer the last", ErrStale, base)
	}
	hosts, err := c.Hosts(ctx)
	if err != nil {
		return total, fmt.Errorf("applying the plan: %w; finding out whether it is applied already: %w", ErrStale, err)
	}
	if !p.Done(hosts.List) {
		return total, fmt.Errorf("%w: revision %s is no longer the last, %s is", ErrStale, base, hosts.Revision)
	}
	total = Applied{Revision: hosts.Revision}
	for i := range p.Changes {
		if p.Changes[i].Put == nil {
			total.Deleted++
		} else {
			total.Changed++
		}
	}
	return total, nil
}

// chunk is the body of one request, from change number at, and the number that
// the next one begins with.
func chunk(p *plan.Plan, at int, base string) (body []byte, next int, err error) {
	req := applyRequest{Base: base, Run: p.Run}
	size := 0
	for ; at < len(p.Changes) && size < maxBody; at++ {
		change := &p.Changes[at]
		o := p.Object(change)
		if o == nil {
			req.Delete = append(req.Delete, change.Object)
			size += len(change.Object) + 3
			continue
		}
		data, err := host.Marshal(o)
		if err != nil {
			return nil, 0, fmt.Errorf("applying the plan: host %s: %w", change.Object, err)
		}
		req.Put = append(req.Put, data)
		size += len(data) + 1
	}
	if body, err = host.Marshal(req); err != nil {
		return nil, 0, fmt.Errorf("applying the plan: %w", err)
	}
	return body, at, nil
}

package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/host"
)

// page is how many hosts are asked for at once; the API's own limit.
const page = 1000

// Hosts are all hosts at one revision, sorted by name. They are not changed.
type Hosts struct {
	Revision string
	List     []*host.Object
}

type listAnswer struct {
	Revision string         `json:"revision"`
	Items    []*host.Object `json:"items"`
	Next     string         `json:"next"`
}

// Hosts lists the hosts of every source. Where nothing has changed since it
// did so last, it asks for one host only, and returns what it has.
func (c *Client) Hosts(ctx context.Context) (*Hosts, error) {
	if c.cached != nil {
		var head listAnswer
		if err := c.call(ctx, http.MethodGet, "/v1/hosts?limit=1", nil, &head); err != nil {
			return nil, fmt.Errorf("listing the hosts: %w", err)
		}
		if head.Revision == c.cached.Revision {
			return c.cached, nil
		}
		c.cached = nil
	}
	// The revision that is being listed may be compacted away under the
	// listing; then it begins anew.
	var err error
	for range 3 {
		var h *Hosts
		if h, err = c.list(ctx); err == nil {
			c.cached = h
			return h, nil
		}
		var status *StatusError
		if !errors.As(err, &status) || status.Status != http.StatusGone {
			break
		}
	}
	return nil, fmt.Errorf("listing the hosts: %w", err)
}

func (c *Client) list(ctx context.Context) (*Hosts, error) {
	h := &Hosts{}
	query := url.Values{"limit": {strconv.Itoa(page)}}
	for {
		var answer listAnswer
		if err := c.call(ctx, http.MethodGet, "/v1/hosts?"+query.Encode(), nil, &answer); err != nil {
			return nil, err
		}
		if h.Revision == "" {
			h.Revision = answer.Revision
		}
		if answer.Revision == "" || answer.Revision != h.Revision {
			return nil, fmt.Errorf("a page is of revision %q, the listing of %q", answer.Revision, h.Revision)
		}
		for _, o := range answer.Items {
			if o == nil || o.Metadata.Name == "" {
				return nil, errors.New("an item of the list has no name")
			}
			c.interner.Object(o)
			h.List = append(h.List, o)
		}
		if answer.Next == "" {
			break
		}
		if answer.Next == query.Get("after") || len(answer.Items) == 0 {
			return nil, fmt.Errorf("the list does not go on after %q", answer.Next)
		}
		query.Set("after", answer.Next)
		query.Set("revision", h.Revision)
	}
	byName := func(a, b *host.Object) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) }
	if !slices.IsSortedFunc(h.List, byName) {
		slices.SortFunc(h.List, byName)
	}
	for i := 1; i < len(h.List); i++ {
		if h.List[i].Metadata.Name == h.List[i-1].Metadata.Name {
			return nil, fmt.Errorf("the list has the host %s twice", h.List[i].Metadata.Name)
		}
	}
	return h, nil
}

package ads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// delta is one stream of the incremental form. Its goroutine is that of Run;
// a second one only receives.
type delta struct {
	c       *Client
	stream  grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	cancel  context.CancelFunc
	in      chan *discoveryv3.DeltaDiscoveryResponse
	failed  error         // why receiving ended; to be read once done is closed
	done    chan struct{} // receiving has ended
	greeted bool          // the node was sent
	heard   bool
}

func (c *Client) openDelta(ctx context.Context, conn *grpc.ClientConn) (*delta, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	d := &delta{
		c: c, stream: stream, cancel: cancel,
		in:   make(chan *discoveryv3.DeltaDiscoveryResponse),
		done: make(chan struct{}),
	}
	c.subs.reset()
	go d.receive(ctx)
	return d, nil
}

// close ends the stream and waits for its receiver.
func (d *delta) close() {
	d.cancel()
	<-d.done
}

func (d *delta) receive(ctx context.Context) {
	defer close(d.done)
	for {
		m, err := d.stream.Recv()
		if err != nil {
			d.failed = err
			return
		}
		select {
		case d.in <- m:
		case <-ctx.Done():
			d.failed = ctx.Err()
			return
		}
	}
}

// run serves the stream until it ends.
func (d *delta) run(ctx context.Context) error {
	if err := d.flush(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.done:
			return d.broken()
		case <-d.c.wake:
			if err := d.flush(); err != nil {
				return err
			}
		case m := <-d.in:
			d.heard = true
			if err := d.answer(m); err != nil {
				return err
			}
		}
	}
}

func (d *delta) broken() error {
	if errors.Is(d.failed, io.EOF) {
		return errors.New("the control plane ended the stream")
	}
	return fmt.Errorf("stream broke: %w", d.failed)
}

// flush tells the server what changed of the subscriptions.
func (d *delta) flush() error {
	for _, ch := range d.c.subs.changes() {
		err := d.send(&discoveryv3.DeltaDiscoveryRequest{
			TypeUrl:                  ch.typeURL,
			ResourceNamesSubscribe:   ch.subscribe,
			ResourceNamesUnsubscribe: ch.unsubscribe,
			InitialResourceVersions:  ch.versions,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *delta) send(req *discoveryv3.DeltaDiscoveryRequest) error {
	if !d.greeted {
		req.Node = d.c.opts.Node.proto()
		d.greeted = true
	}
	err := d.stream.Send(req)
	if !errors.Is(err, io.EOF) {
		return err
	}
	// The stream is broken, and Recv says why, perhaps after what it had
	// received before.
	for {
		select {
		case <-d.done:
			return d.broken()
		case <-d.in:
		}
	}
}

// answer handles a response and ACKs or NACKs it. What the handler changes of
// the subscriptions follows in a request of its own.
func (d *delta) answer(m *discoveryv3.DeltaDiscoveryResponse) error {
	rejections := d.handle(m)
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()}
	if len(rejections) > 0 {
		req.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: detail(rejections)}
	}
	return d.send(req)
}

func (d *delta) handle(m *discoveryv3.DeltaDiscoveryResponse) []Rejection {
	u, rejections := decode(m, d.c.subs.room(m.GetTypeUrl()))
	if d.c.subs.filter(&u) {
		rejections = append(rejections, d.c.handler.Handle(u)...)
		refused := make(map[string]bool, len(rejections))
		for _, r := range rejections {
			refused[r.Name] = true
		}
		d.c.subs.accept(u, refused)
	} else {
		rejections = append(rejections, Rejection{Err: fmt.Errorf("type %q was not asked for", m.GetTypeUrl())})
	}
	d.note(m, rejections)
	return rejections
}

// note remembers and logs what was refused.
func (d *delta) note(m *discoveryv3.DeltaDiscoveryResponse, rejections []Rejection) {
	versions := map[string]string{}
	if len(rejections) > 0 {
		for _, r := range m.GetResources() {
			versions[r.GetName()] = r.GetVersion()
		}
	}
	now := time.Now()
	nacks := make([]Nack, 0, len(rejections))
	for _, r := range rejections {
		nacks = append(nacks, Nack{
			Time: now, Type: m.GetTypeUrl(), Name: r.Name, Version: versions[r.Name], Reason: r.Err.Error(),
		})
		if len(nacks) <= maxNacks {
			d.c.log.Warn("resource refused, the last good one stays",
				"type", m.GetTypeUrl(), "name", r.Name, "version", versions[r.Name], "reason", r.Err)
		}
	}
	d.c.state.updated(now, nacks)
}

// decode checks what the protocol itself demands, and that there is room for
// as many as come.
func decode(m *discoveryv3.DeltaDiscoveryResponse, room int) (Update, []Rejection) {
	u := Update{Type: m.GetTypeUrl(), Removed: m.GetRemovedResources()}
	var rejections []Rejection
	seen := make(map[string]bool, len(m.GetResources()))
	for _, r := range m.GetResources() {
		name, body := r.GetName(), r.GetResource()
		var err error
		switch {
		case name == "":
			err = errors.New("has no name")
		case seen[name]:
			err = errors.New("comes twice in one response")
		case body == nil:
			err = errors.New("has no body")
		case body.GetTypeUrl() != u.Type:
			err = fmt.Errorf("is of type %q, not %q", body.GetTypeUrl(), u.Type)
		case len(u.Added) >= room:
			err = fmt.Errorf("is one more than the %d that can be held", maxHeld)
		}
		seen[name] = true
		if err != nil {
			rejections = append(rejections, Rejection{Name: name, Err: err})
			continue
		}
		u.Added = append(u.Added, Resource{Name: name, Version: r.GetVersion(), Body: body})
	}
	return u, rejections
}

// detail lists rejections for the server's log, within a bound.
func detail(rejections []Rejection) string {
	var b strings.Builder
	for i, r := range rejections {
		if b.Len() > maxErrorDetail {
			fmt.Fprintf(&b, "; and %d more", len(rejections)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		name, reason := r.Name, r.Err.Error()
		if len(reason) > maxErrorDetail {
			reason = strings.ToValidUTF8(reason[:maxErrorDetail], "") + "…"
		}
		b.WriteString(name + ": " + reason)
	}
	return b.String()
}

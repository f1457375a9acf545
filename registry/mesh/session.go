package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
	"github.com/outrigger-mesh/outrigger/registry"
)

// ackTimeout is how long the control plane may take to answer one message
// before the stream is given up; it stores the change first.
const ackTimeout = 10 * time.Second

// resyncInterval is how often the set is sent again that a new stream began
// with and that was refused.
const resyncInterval = 15 * time.Second

// errTTL ends a session whose lease is shorter than the one asked for now.
var errTTL = errors.New("a longer ttl is asked for")

// Error lists the reasons.
func (e *RefusedError) Error() string {
	return "the control plane refuses the registration: " + strings.Join(e.Reasons, "; ")
}

// session is one registration stream.
type session struct {
	w      *writer
	stream grpc.BidiStreamingClient[pb.RegisterRequest, pb.RegisterResponse]
	in     chan *pb.RegisterResponse
	failed error         // why receiving ended; to be read once done is closed
	done   chan struct{} // receiving has ended
	ttl    time.Duration
	synced bool // the control plane has exactly what is accepted
	// answered: the control plane has taken this stream. One that it does not
	// take, it ends instead of answering.
	answered bool
}

// session opens a stream and serves the queue over it until it breaks. It
// reports whether the control plane answered anything.
func (w *writer) session(ctx context.Context) (answered bool, err error) {
	conn, err := ads.Dial(w.opts.Dial)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewRegistrationClient(conn).Register(ctx)
	if err != nil {
		return false, fmt.Errorf("open a registration stream: %w", err)
	}
	s := &session{w: w, stream: stream, in: make(chan *pb.RegisterResponse), done: make(chan struct{})}
	base, more, ttl := w.begin()
	s.ttl = ttl
	go s.receive(ctx)
	defer func() { cancel(); <-s.done }()
	if err := s.send(ctx, s.hello()); err != nil {
		return false, err
	}
	s.synced = len(base) == 0 && !more
	if !s.synced {
		if err := s.sync(ctx, base); err != nil {
			return s.answered, err
		}
	}
	err = s.serve(ctx)
	return s.answered, err
}

func (s *session) hello() *pb.RegisterRequest {
	return &pb.RegisterRequest{Message: &pb.RegisterRequest_Hello{Hello: &pb.Hello{
		Network: s.w.opts.Network, Node: s.w.opts.Node, Agent: s.w.opts.Agent, Epoch: s.w.epoch,
		TtlSeconds: uint32(min(math.Ceil(s.ttl.Seconds()), math.MaxUint32)),
	}}}
}

// sync sends what a new stream begins with.
func (s *session) sync(ctx context.Context, base set) error {
	err := s.exchange(ctx, base)
	var refused *RefusedError
	if errors.As(err, &refused) {
		// What the control plane holds stays as it is; it may take this later.
		s.w.failed(err)
		s.w.log.Error("registrations are refused that were accepted before", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	s.w.settle(base)
	s.synced = true
	return nil
}

// serve makes the changes of the queue, one by one.
func (s *session) serve(ctx context.Context) error {
	resync := time.NewTicker(resyncInterval)
	defer resync.Stop()
	for {
		if err := s.drain(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.broken()
		case <-s.in:
			return errors.New("the control plane answered what was not asked")
		case <-s.w.wake:
		case <-resync.C:
			if s.synced {
				continue
			}
			if err := s.sync(ctx, s.w.held()); err != nil {
				return err
			}
		}
	}
}

// drain makes the changes that are queued now.
func (s *session) drain(ctx context.Context) error {
	for {
		c, want := s.w.head(s.synced)
		if c == nil {
			return nil
		}
		// A shorter one would do as well, and waits for the next stream.
		if want.ttl(s.w.opts.TTL) > s.ttl {
			s.w.unsent(c)
			return errTTL
		}
		err := s.exchange(ctx, want)
		var refused *RefusedError
		switch {
		case err == nil:
			s.w.settle(want)
			s.synced = true
			s.w.finish(c, nil)
		case errors.As(err, &refused):
			s.w.failed(err)
			s.w.log.Error("registration refused", "error", err)
			s.w.finish(c, err)
		default:
			s.w.unsent(c)
			return err
		}
	}
}

// exchange sends a set and waits for its answer.
func (s *session) exchange(ctx context.Context, want set) error {
	version := s.w.sending(want)
	m := &pb.Instances{Version: version}
	for _, i := range want.instances() {
		m.Instances = append(m.Instances, wire(i))
	}
	if err := s.send(ctx, &pb.RegisterRequest{Message: &pb.RegisterRequest_Instances{Instances: m}}); err != nil {
		return err
	}
	timer := time.NewTimer(ackTimeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.broken()
		case <-timer.C:
			return fmt.Errorf("no answer to a registration within %s", ackTimeout)
		case r := <-s.in:
			if !s.answered {
				s.answered = true
				s.w.connected()
			}
			if a := r.GetAccepted(); a != nil && a.GetVersion() == version {
				return nil
			}
			if n := r.GetRefused(); n != nil && n.GetVersion() == version {
				return &RefusedError{Reasons: n.GetErrors()}
			}
		}
	}
}

// send sends, and says what Recv says when the stream is broken.
func (s *session) send(ctx context.Context, m *pb.RegisterRequest) error {
	err := s.stream.Send(m)
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return s.broken()
		case <-s.in:
		}
	}
}

func (s *session) receive(ctx context.Context) {
	defer close(s.done)
	for {
		m, err := s.stream.Recv()
		if err != nil {
			s.failed = err
			return
		}
		select {
		case s.in <- m:
		case <-ctx.Done():
			s.failed = ctx.Err()
			return
		}
	}
}

func (s *session) broken() error {
	if errors.Is(s.failed, io.EOF) {
		return errors.New("the control plane ended the registration stream")
	}
	return fmt.Errorf("registration stream broke: %w", s.failed)
}

// wire is an instance as the stream carries it; network and node are the
// stream's.
func wire(i registry.Instance) *pb.Instance {
	return &pb.Instance{
		Namespace: i.Service.Namespace, Service: i.Service.Name, PortName: i.PortName,
		Address: i.Address, PortNumber: uint32(i.PortNumber), Protocol: string(i.Protocol),
		Version: i.Version, Weight: i.Weight, Host: i.Host,
		Region: i.Locality.Region, Zone: i.Locality.Zone, Subzone: i.Locality.Subzone,
		Status: string(i.Status), Metadata: i.Metadata,
	}
}

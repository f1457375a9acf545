package sidecar

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	pb "github.com/outrigger-mesh/outrigger/internal/registration/v1"
	"github.com/outrigger-mesh/outrigger/registry"
)

// maxErrors bounds the errors of one Refused.
const maxErrors = 100

// Register serves one node's stream.
func (s *Source) Register(str pb.Registration_RegisterServer) error {
	ctx := str.Context()
	select {
	case <-s.ready:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-s.closing:
		return errStopping
	}
	messages := receive(str)
	hello, err := s.hello(ctx, messages)
	if err != nil {
		return err
	}
	key := store.NodeKey{Network: hello.GetNetwork(), Node: hello.GetNode()}
	st := &stream{epoch: hello.GetEpoch(), replaced: make(chan struct{})}
	l, err := s.attach(key, st)
	if err != nil {
		return err
	}
	log := s.log.With("node", key.String(), "agent", hello.GetAgent())
	log.Debug("registration stream opened")
	defer func() {
		l.mu.Lock()
		at := l.detach(st, time.Now())
		l.mu.Unlock()
		if !at.IsZero() {
			s.expiry.push(key, at)
			log.Debug("registration stream ended", "expires", at)
		}
	}()
	want := store.Node{
		NodeKey: key, TTL: s.limits.ttl(hello.GetTtlSeconds()),
		Epoch: hello.GetEpoch(), Agent: hello.GetAgent(),
	}
	local := fromThisMachine(ctx)
	for {
		select {
		case <-s.closing:
			return errStopping
		case <-st.replaced:
			return status.Errorf(codes.Aborted, "a newer stream of node %s has taken over", key)
		case m, ok := <-messages:
			if !ok {
				return nil
			}
			in := m.GetInstances()
			if in == nil {
				return status.Error(codes.InvalidArgument, "after hello, only instances messages may follow")
			}
			instances, problems := s.limits.convert(key, st.epoch, in, local)
			if len(problems) > 0 {
				s.metrics.refused.Inc()
				log.Warn("registration refused", "version", in.GetVersion(), "errors", len(problems), "first", problems[0])
				if err := str.Send(refused(in.GetVersion(), problems)); err != nil {
					return err
				}
				continue
			}
			want.Instances = plain(instances)
			if err := s.accept(ctx, l, st, want); err != nil {
				return err
			}
			s.metrics.accepted.Inc()
			if err := str.Send(accepted(in.GetVersion())); err != nil {
				return err
			}
		}
	}
}

var errStopping = status.Error(codes.Unavailable, "the control plane is stopping")

// receive reads the stream until it ends, then closes the channel. Its
// goroutine ends with the stream.
func receive(str pb.Registration_RegisterServer) <-chan *pb.RegisterRequest {
	messages := make(chan *pb.RegisterRequest)
	go func() {
		defer close(messages)
		for {
			m, err := str.Recv()
			if err != nil {
				return
			}
			select {
			case messages <- m:
			case <-str.Context().Done():
				return
			}
		}
	}()
	return messages
}

// hello waits for the first message and checks it.
func (s *Source) hello(ctx context.Context, messages <-chan *pb.RegisterRequest) (*pb.Hello, error) {
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-s.closing:
		return nil, errStopping
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no hello within %s", helloTimeout)
	case m, ok := <-messages:
		if !ok {
			return nil, status.Error(codes.Canceled, "the stream ended before its hello")
		}
		h := m.GetHello()
		if h == nil {
			return nil, status.Error(codes.InvalidArgument, "the first message must be hello")
		}
		if errs := s.limits.checkHello(h); len(errs) > 0 {
			return nil, status.Error(codes.InvalidArgument, "hello: "+strings.Join(errs, "; "))
		}
		return h, nil
	}
}

// attach gives the node to st unless a later process has it.
func (s *Source) attach(key store.NodeKey, st *stream) (*lease, error) {
	for {
		l := s.lookup(key)
		if l == nil {
			return nil, status.Errorf(codes.ResourceExhausted, "%d nodes are registered, which is this control plane's limit", s.limits.Nodes)
		}
		l.mu.Lock()
		if l.gone {
			l.mu.Unlock()
			continue
		}
		newest := l.newestEpoch()
		if st.epoch < newest {
			l.mu.Unlock()
			return nil, status.Errorf(codes.FailedPrecondition,
				"a later process (epoch %d) has node %s, this one is of epoch %d: is the node id used twice?", newest, key, st.epoch)
		}
		l.attach(st, time.Now())
		expires := l.expires
		l.mu.Unlock()
		if !expires.IsZero() {
			s.expiry.push(key, expires)
		}
		return l, nil
	}
}

// accept makes want what the node has: first in the store, then in the mesh.
// It returns once the mesh serves it.
func (s *Source) accept(ctx context.Context, l *lease, st *stream, want store.Node) error {
	served := make(chan struct{})
	err := func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.stream != st {
			return status.Errorf(codes.Aborted, "a newer stream of node %s has taken over", want.NodeKey)
		}
		if same(l.node, want) {
			l.renew(want)
			close(served)
			return nil
		}
		if err := s.store.PutNode(ctx, want); err != nil {
			s.log.Error("registration not stored", "node", want.NodeKey.String(), "error", err)
			return status.Error(codes.Unavailable, "the registration could not be stored")
		}
		l.renew(want)
		u := source.Update{
			Source: Name, Key: want.NodeKey.String(), Content: l.content(),
			Done: func() { close(served) },
		}
		if !s.send(u) {
			return errStopping
		}
		return nil
	}()
	if err != nil {
		return err
	}
	select {
	case <-served:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-s.closing:
		return errStopping
	}
}

// fromThisMachine reports whether the stream's client runs on this machine.
func fromThisMachine(ctx context.Context) bool {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	remote, ok := p.Addr.(*net.TCPAddr)
	if !ok {
		return true // a socket of the file system, or of this process
	}
	if remote.IP.IsLoopback() {
		return true
	}
	local, ok := p.LocalAddr.(*net.TCPAddr)
	return ok && local.IP.Equal(remote.IP)
}

func plain(instances []source.Instance) []registry.Instance {
	all := make([]registry.Instance, len(instances))
	for i := range instances {
		all[i] = instances[i].Instance
	}
	return all
}

func accepted(version uint64) *pb.RegisterResponse {
	return &pb.RegisterResponse{Message: &pb.RegisterResponse_Accepted{Accepted: &pb.Accepted{Version: version}}}
}

func refused(version uint64, errs []string) *pb.RegisterResponse {
	if more := len(errs) - maxErrors; more > 0 {
		errs = append(errs[:maxErrors:maxErrors], fmt.Sprintf("and %d more errors", more))
	}
	return &pb.RegisterResponse{Message: &pb.RegisterResponse_Refused{Refused: &pb.Refused{Version: version, Errors: errs}}}
}

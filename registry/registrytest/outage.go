package registrytest

import (
	"errors"
	"testing"
	"time"

	microregistry "go-micro.dev/v4/registry"
)

func survivesRestart(t *testing.T, b Backend) {
	w, r := client(t, b, "n1"), client(t, b, "n2")
	register(t, w, service("users", "v1", "users-1", "127.0.0.1:7001"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7001")
	b.Stop(t)
	if got, err := look(r, "users"); err != nil || len(got) != 1 {
		t.Errorf("in an outage the service is %q, error %v", got, err)
	}
	b.Start(t)
	expect(t, client(t, b, "n3"), "users", "v1 users-1 127.0.0.1:7001")
	// Its writer is there again, and can change it.
	register2(t, w, service("users", "v1", "users-1", "127.0.0.1:7002"))
	expect(t, r, "users", "v1 users-1 127.0.0.1:7002")
}

// register2 registers until it is accepted: the client may not be connected
// again yet.
func register2(t *testing.T, r Registry, s *microregistry.Service) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = r.Register(s); err == nil {
			return
		}
	}
	t.Fatalf("register %s: %v", s.Name, err)
}

// bounded is how long a call may take while the server is away.
const bounded = 8 * time.Second

func outageDoesNotBlock(t *testing.T, b Backend) {
	w := client(t, b, "n1")
	s := service("users", "v1", "users-1", "127.0.0.1:7001")
	register(t, w, s)
	expect(t, w, "users", "v1 users-1 127.0.0.1:7001")
	b.Stop(t)
	begin := time.Now()
	if err := w.Register(service("orders", "v1", "orders-1", "127.0.0.1:7002")); err == nil {
		t.Error("register without a server: no error")
	}
	if err := w.Deregister(s); err == nil {
		t.Error("deregister without a server: no error")
	}
	if took := time.Since(begin); took > 2*bounded {
		t.Errorf("two calls took %v", took)
	}
	begin = time.Now()
	if got, err := look(w, "users"); err != nil || len(got) == 0 {
		t.Errorf("what was known before is forgotten: %q, error %v", got, err)
	}
	if took := time.Since(begin); took > bounded {
		t.Errorf("a look-up of what is known took %v", took)
	}
	b.Start(t)
	r := client(t, b, "n2")
	expect(t, r, "orders", "v1 orders-1 127.0.0.1:7002")
	expect(t, r, "users")
}

func registeredInOutage(t *testing.T, b Backend) {
	b.Stop(t)
	w := client(t, b, "n1")
	if err := w.Register(service("users", "v1", "users-1", "127.0.0.1:7001")); err == nil {
		t.Error("register without a server: no error")
	}
	if _, err := w.GetService("users"); err == nil || errors.Is(err, microregistry.ErrNotFound) {
		t.Errorf("look-up without a server: error %v, which is not to say that there is no such service", err)
	}
	b.Start(t)
	expect(t, client(t, b, "n2"), "users", "v1 users-1 127.0.0.1:7001")
}

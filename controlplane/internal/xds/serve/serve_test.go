package serve_test

import (
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestANameIsAnsweredWithItsResource(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "cds:b=1")
	c := w.client()
	c.subscribe(cds, "a")
	r := c.expect("cds a")
	if v := r.GetResources()[0].GetVersion(); len(v) != 16 {
		t.Errorf("version %q is no content hash of 16 digits", v)
	}
	c.ack(r)
	c.nothing()
}

func TestAnUnknownNameIsAnsweredAtOnceAndItsSubscriptionRemembered(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.subscribe(lds, "later")
	c.expectAcked("lds -later")
	c.nothing()
	w.set("lds:later=1", "lds:other=1")
	c.expectAcked("lds later")
	c.nothing()
}

func TestAChangeIsSentToItsSubscribersAlone(t *testing.T) {
	w := newWorld(t)
	w.set("eds:a=1", "eds:b=1")
	a, b := w.client(), w.client()
	a.subscribe(eds, "a")
	a.expectAcked("eds a")
	b.subscribe(eds, "b")
	b.expectAcked("eds b")
	w.set("eds:a=2")
	a.expectAcked("eds a")
	b.nothing()
}

func TestTheSameContentIsNotSentAgain(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1")
	c := w.client()
	c.subscribe(cds, "a")
	c.expectAcked("cds a")
	w.set("cds:a=1")
	c.nothing()
}

func TestARemovedResourceIsSaidToBeGoneOnce(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1")
	c := w.client()
	c.subscribe(cds, "a")
	c.expectAcked("cds a")
	w.remove("cds:a")
	c.expectAcked("cds -a")
	w.set("cds:b=1")
	c.nothing()
	w.set("cds:a=2")
	c.expectAcked("cds a")
}

func TestChangesWaitForTheAnswerAndComeTogether(t *testing.T) {
	w := newWorld(t)
	w.set("eds:a=1", "eds:b=1")
	c := w.client()
	c.subscribe(eds, "a", "b")
	r := c.expect("eds a b")
	w.set("eds:a=2")
	w.set("eds:a=3")
	w.set("eds:b=2")
	c.nothing()
	c.ack(r)
	last := c.expect("eds a b")
	if v := parse(t, "eds:a=3"); !strings.Contains(string(last.GetResources()[0].GetResource().GetValue()), "3") {
		t.Errorf("the response does not have the last content of %s", v.Name)
	}
}

func TestASubscriptionIsHonouredThoughAResponseIsUnanswered(t *testing.T) {
	w := newWorld(t)
	w.set("eds:a=1", "eds:b=1")
	c := w.client()
	c.subscribe(eds, "a")
	c.expect("eds a")
	c.subscribe(eds, "b")
	c.expectAcked("eds b")
	c.nothing()
}

func TestASubscriptionIsHonouredWithAStaleNonce(t *testing.T) {
	w := newWorld(t)
	w.set("eds:a=1", "eds:b=1")
	c := w.client()
	c.subscribe(eds, "a")
	c.expectAcked("eds a")
	c.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResponseNonce: "long ago", ResourceNamesSubscribe: []string{"b"}})
	c.expectAcked("eds b")
}

func TestANameThatIsSubscribedToAgainIsSentAgain(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "cds:b=1")
	c := w.client()
	c.subscribe(cds, "a", "b", "none")
	c.expectAcked("cds a b -none")
	c.subscribe(cds, "a", "none")
	c.expectAcked("cds a -none")
}

func TestAnUnsubscribedNameIsSentNoMoreUntilSubscribedAgain(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1")
	c := w.client()
	c.subscribe(cds, "a")
	c.expectAcked("cds a")
	c.unsubscribe(cds, "a")
	c.nothing()
	w.set("cds:a=2")
	c.nothing()
	c.subscribe(cds, "a")
	c.expectAcked("cds a")
}

func TestInitialResourceVersionsAreHonoured(t *testing.T) {
	w := newWorld(t)
	w.set("cds:same=1", "cds:changed=1", "cds:gone=1")
	first := w.client()
	first.subscribe(cds, "same", "changed", "gone", "none")
	r := first.expect("cds changed gone same -none")
	held := map[string]string{}
	for _, res := range r.GetResources() {
		held[res.GetName()] = res.GetVersion()
	}
	first.cancel()

	w.set("cds:changed=2")
	w.remove("cds:gone")
	again := w.client()
	again.send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: cds, InitialResourceVersions: held,
		ResourceNamesSubscribe: []string{"same", "changed", "gone", "none"},
	})
	// What is gone is said after what is there: make before break.
	again.expectAcked("cds changed -none")
	again.expectAcked("cds -gone")
	again.nothing()
}

func TestAWildcardTakesEverything(t *testing.T) {
	tests := []struct {
		name  string
		names []string
	}{
		{"by the name *", []string{"*"}},
		{"by an empty first request", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.set("cds:a=1", "cds:b=1")
			c := w.client()
			c.subscribe(cds, tt.names...)
			c.expectAcked("cds a b")
			w.set("cds:c=1")
			c.expectAcked("cds c")
			w.remove("cds:a")
			c.expectAcked("cds -a")
			c.nothing()
		})
	}
}

func TestAWildcardIsAnsweredThoughThereIsNothing(t *testing.T) {
	w := newWorld(t)
	c := w.client()
	c.subscribe(lds)
	c.expectAcked("lds")
	c.nothing()
	w.set("lds:a=1")
	c.expectAcked("lds a")
}

func TestAnEmptyRequestIsAWildcardForListenersAndClustersOnly(t *testing.T) {
	w := newWorld(t)
	w.set("eds:a=1", "rds:a=1")
	c := w.client()
	c.subscribe(eds)
	c.subscribe(rds)
	c.nothing()
}

func TestAnUnsubscribeUnderAWildcardIsAnswered(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1")
	c := w.client()
	c.subscribe(cds, "*", "a", "none")
	c.expectAcked("cds a -none")
	c.unsubscribe(cds, "a", "none")
	c.expectAcked("cds a -none")
	w.set("cds:a=2")
	c.expectAcked("cds a")
}

func TestWhatAWildcardBroughtEndsWithIt(t *testing.T) {
	w := newWorld(t)
	w.set("cds:a=1", "cds:b=1")
	c := w.client()
	c.subscribe(cds, "*", "a")
	c.expectAcked("cds a b")
	c.unsubscribe(cds, "*")
	c.nothing()
	w.set("cds:b=2")
	c.nothing()
	w.set("cds:a=2")
	c.expectAcked("cds a")
	c.subscribe(cds, "*")
	c.expectAcked("cds b")
}

func TestARejectedVersionIsNotSentAgainTheNextOneIs(t *testing.T) {
	w := newWorld(t)
	w.set("rds:a=1")
	c := w.client()
	c.subscribe(rds, "a")
	c.expectAcked("rds a")
	w.set("rds:a=bad")
	bad := c.expect("rds a")
	c.nack(bad, "a: no such thing")
	c.nothing()

	proxies := w.cache.Proxies()
	want := []serve.Proxy{{
		Node: "node-1", Cluster: "default",
		Types: map[string]serve.ProxyStatus{
			"RouteConfiguration": {Subscribed: 1, Held: 1, NACKs: 1, NACK: "a: no such thing"},
		},
	}}
	delete(proxies[0].Types, "Secret") // of the barriers
	if diff := cmp.Diff(want, proxies, cmpopts.IgnoreFields(serve.Proxy{}, "Peer", "Connected")); diff != "" {
		t.Errorf("proxies (-want +got):\n%s", diff)
	}
	c.nack(bad, "a: no such thing") // said twice, counted once
	c.nothing()
	if n := w.nacks(); n != 1 {
		t.Errorf("%v nacks are counted, want 1", n)
	}
	w.set("rds:a=good")
	c.expectAcked("rds a")
}

func TestALargeAnswerComesInParts(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("x", 1<<20)
	w.set("cds:a="+big, "cds:b="+big, "cds:c="+big, "cds:d="+strings.Repeat("y", 5<<20))
	c := w.client()
	c.subscribe(cds)
	c.expectAcked("cds a b")
	c.expectAcked("cds c")
	// The one that is larger than a client takes comes alone and ends this
	// client's stream, none of the others.
	select {
	case err := <-c.ended:
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("stream ended with %v, want %v", err, codes.ResourceExhausted)
		}
	case <-time.After(patience):
		t.Fatal("the client took a message larger than its limit")
	}
}

// nacks is the metric of that name, of all types.
func (w *world) nacks() float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "outrigger_xds_nacks_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

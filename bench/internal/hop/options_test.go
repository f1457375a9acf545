package hop

import (
	"strings"
	"testing"
	"time"
)

func valid() Options {
	return Options{Rounds: 1, Duration: time.Second, Connections: 1, Idle: 1}
}

func names(t *testing.T, o Options) string {
	t.Helper()
	peers, err := o.peers()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range peers {
		all = append(all, p.Name)
	}
	return strings.Join(all, " ")
}

func TestPeersThatTakePart(t *testing.T) {
	o := valid()
	if got, want := names(t, o), "nginx sidecar sidecar-chain nginx-chain haproxy caddy reverseproxy fasthttp"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	o.Base = "/old"
	if got, want := names(t, o), "nginx sidecar sidecar-chain sidecar-base sidecar-base-chain nginx-chain haproxy caddy reverseproxy fasthttp"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	// Those that ratios are to are always there.
	o.Only = []string{"caddy", "sidecar-base"}
	for of, want := range map[string]string{"get-1k": "nginx sidecar-base caddy", "grpc": "sidecar-base haproxy caddy", "": "nginx sidecar-base haproxy caddy"} {
		if o.Cases = nil; of != "" {
			o.Cases = []string{of}
		}
		if got := names(t, o); got != want || o.NeedsSidecar() {
			t.Errorf("%q: %s; want %s", of, got, want)
		}
	}
	o.Only = []string{"sidecar-chain"}
	if !o.NeedsSidecar() {
		t.Error("sidecar-chain needs the sidecar")
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"-rounds must be from 1":        func(o *Options) { o.Rounds = 0 },
		"-connections must be from 1":   func(o *Options) { o.Connections = -1 },
		"-idle must be from 1":          func(o *Options) { o.Idle = 1_000_000 },
		"-duration must be from":        func(o *Options) { o.Duration = time.Millisecond },
		`no peer "envoy"; there are:`:   func(o *Options) { o.Only = []string{"nginx", "envoy"} },
		`no peer "sidecar-base"`:        func(o *Options) { o.Only = []string{"sidecar-base"} },
		`no case "get"; there are: get`: func(o *Options) { o.Cases = []string{"get"} },
		`no measure "cpu"`:              func(o *Options) { o.Measures = []string{"cpu"} },
	} {
		o := valid()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; expected %q", err, want)
		}
	}
}

func TestPeersTakePartInWhatTheyCanDo(t *testing.T) {
	o := valid()
	part := func(of string) string {
		t.Helper()
		peers, err := o.peers()
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range Cases() {
			for _, p := range peers {
				if c.Name == of && o.takesPart(p, c) {
					all = append(all, p.Name)
				}
			}
		}
		return strings.Join(all, " ")
	}
	for _, of := range []string{"h2", "grpc", "tls1", "tls2"} {
		if got, want := part(of), "nginx sidecar haproxy"; got != want {
			t.Errorf("%s: %s; want %s", of, got, want)
		}
	}
	o.Only = []string{"sidecar", "caddy"}
	for of, want := range map[string]string{"get-1k": "nginx sidecar caddy", "grpc": "sidecar haproxy", "tls1": "nginx sidecar"} {
		if got := part(of); got != want {
			t.Errorf("%s: %s; want %s", of, got, want)
		}
	}
}

package route

import (
	"regexp"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func request(t *testing.T, line string) *middleware.Request {
	t.Helper()
	parts := strings.Fields(line)
	r := &middleware.Request{Method: []byte(parts[0]), Authority: []byte(parts[1]), Target: []byte(parts[2])}
	for _, h := range parts[3:] {
		name, value, _ := strings.Cut(h, ":")
		r.Header.Add(name, value)
	}
	return r
}

func none(string) *middleware.Chains { return &middleware.Chains{} }

func TestTheMostSpecificDomainAndTheFirstMatchingRuleWin(t *testing.T) {
	to := func(name string, m Match) Route {
		return Route{Name: name, Match: m, Clusters: []WeightedCluster{{Name: name, Weight: 1}}}
	}
	config := &Config{VirtualHosts: []VirtualHost{
		{Name: "shop", Domains: []string{"Shop.example.test"}, Routes: []Route{
			to("exact", Match{PathKind: PathExact, Path: "/orders"}),
			to("post", Match{Path: "/orders", Method: "POST"}),
			to("canary", Match{Path: "/orders", Headers: []ValueMatch{{Name: "X-Canary", Exact: "1"}}}),
			to("present", Match{Path: "/orders", Headers: []ValueMatch{{Name: "x-any", Present: true}}}),
			to("query", Match{Path: "/orders", Query: []ValueMatch{{Name: "a b", Exact: "c&d"}}}),
			to("joined", Match{Path: "/orders", Headers: []ValueMatch{{Name: "x-two", Exact: "a,b"}}}),
			to("regexp", Match{PathKind: PathRegexp, Regexp: regexp.MustCompile(`^/item/\d+$`)}),
			to("orders", Match{Path: "/orders/"}),
		}},
		{Name: "wide", Domains: []string{"*.example.test"}, Routes: []Route{to("wide", Match{Path: "/"})}},
		{Name: "wider", Domains: []string{"*.test"}, Routes: []Route{to("wider", Match{Path: "/"})}},
		{Name: "rest", Domains: []string{"*"}, Routes: []Route{
			to("not-internal", Match{Path: "/", Headers: []ValueMatch{{Name: "x-internal", Present: true, Invert: true}}}),
		}},
	}}
	table, err := Compile(config, Builder{Listener: "gateway", Cluster: func(string) middleware.Picker { return nil }, Chains: none})
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, request, want string }{
		{"exact path", "GET shop.example.test /orders", "exact"},
		{"authority in capitals, with a port", "GET SHOP.example.test:8000 /orders?x=1", "exact"},
		{"trailing dot of a full name", "GET shop.example.test. /orders", "exact"},
		{"method", "POST shop.example.test /orders/1", "post"},
		{"header", "GET shop.example.test /orders/1 x-canary:1", "canary"},
		{"header with another value", "GET shop.example.test /orders/1 x-canary:2", "orders"},
		{"header present", "GET shop.example.test /orders/1 X-Any:", "present"},
		{"query, escaped", "GET shop.example.test /orders/1?x&a+b=c%26d", "query"},
		{"several fields of one name", "GET shop.example.test /orders/1 x-two:a x-two:b", "joined"},
		{"regexp", "GET shop.example.test /item/12", "regexp"},
		{"regexp matches the whole path", "GET shop.example.test /item/12/x", ""},
		{"prefix by segments", "GET shop.example.test /orders/1/2", "orders"},
		{"prefix is not amid a segment", "GET shop.example.test /ordersx", ""},
		{"wildcard", "GET a.example.test /", "wide"},
		{"wildcard over several labels", "GET a.b.example.test /", "wide"},
		{"shorter wildcard", "GET x.test /", "wider"},
		{"a wildcard needs a label", "GET .test /", "not-internal"},
		{"any host", "GET elsewhere /", "not-internal"},
		{"inverted", "GET elsewhere / x-internal:1", ""},
		{"IPv6 with a port", "GET [::1]:80 /", "not-internal"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := request(t, c.request)
			got := table.Match(Host(nil, r.Authority), r).Route.Name
			if got != c.want {
				t.Errorf("got route %q, want %q", got, c.want)
			}
		})
	}
	var buf [64]byte
	r := request(t, "GET shop.example.test /orders/1")
	if n := testing.AllocsPerRun(100, func() { table.Match(Host(buf[:0], r.Authority), r) }); n != 0 {
		t.Errorf("matching allocates %v times", n)
	}
}

func TestCompileNamesWhatIsWrong(t *testing.T) {
	cases := []struct {
		name string
		host VirtualHost
		want string
	}{
		{"no action", VirtualHost{Name: "v", Domains: []string{"*"}, Routes: []Route{{Name: "r"}}}, `virtual host "v", route 0 (r): has neither`},
		{"both actions", VirtualHost{Name: "v", Domains: []string{"*"}, Routes: []Route{{Status: 404, Clusters: []WeightedCluster{{Name: "a"}}}}}, "has both"},
		{"weights of zero", VirtualHost{Name: "v", Domains: []string{"*"}, Routes: []Route{{Clusters: []WeightedCluster{{Name: "a"}, {Name: "b"}}}}}, "sum up to 0"},
		{"domain twice", VirtualHost{Name: "v", Domains: []string{"a", "A"}}, `domain "a" stands twice`},
		{"star inside", VirtualHost{Name: "v", Domains: []string{"a.*"}}, "is not a domain"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile(&Config{VirtualHosts: []VirtualHost{c.host}}, Builder{Cluster: func(string) middleware.Picker { return nil }, Chains: none})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

type named string

func (named) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return nil, nil }

func TestWeightsSplitRequests(t *testing.T) {
	config := &Config{VirtualHosts: []VirtualHost{{Domains: []string{"*"}, Routes: []Route{{
		Clusters: []WeightedCluster{{Name: "a", Weight: 90}, {Name: "b", Weight: 10}, {Name: "never", Weight: 0}},
	}}}}}
	table, err := Compile(config, Builder{Cluster: func(n string) middleware.Picker { return named(n) }, Chains: none})
	if err != nil {
		t.Fatal(err)
	}
	target := table.Match([]byte("x"), request(t, "GET x /"))
	got := map[middleware.Picker]int{}
	for range 10_000 {
		p, err := target.Pick(nil)
		if err != nil {
			t.Fatal(err)
		}
		got[p]++
	}
	if got[named("b")] < 800 || got[named("b")] > 1200 || got[named("never")] != 0 {
		t.Errorf("split %v, want about 9000 to 1000 to 0", got)
	}
}

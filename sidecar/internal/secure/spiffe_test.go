package secure

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure/securetest"
)

func TestCheckID(t *testing.T) {
	for _, id := range []string{
		"spiffe://mesh/orders", "spiffe://a.b-c_d.1/ns/default/sa/users", "spiffe://mesh/Orders_1.2-x", "spiffe://mesh/...",
		"spiffe://" + strings.Repeat("a", 255) + "/x",
	} {
		if err := CheckID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for id, want := range map[string]string{
		"":                                            "does not begin",
		"https://mesh/orders":                         "does not begin",
		"SPIFFE://mesh/orders":                        "does not begin",
		"spiffe:///orders":                            "no trust domain",
		"spiffe://mesh":                               "names a trust domain",
		"spiffe://mesh/":                              "names a trust domain",
		"spiffe://Mesh/orders":                        "a trust domain is made of",
		"spiffe://mesh:80/orders":                     "a trust domain is made of",
		"spiffe://user@mesh/orders":                   "a trust domain is made of",
		"spiffe://mesh//orders":                       "empty segment",
		"spiffe://mesh/orders/":                       "empty segment",
		"spiffe://mesh/./orders":                      `"." in its path`,
		"spiffe://mesh/a/../orders":                   `".." in its path`,
		"spiffe://mesh/or%64ers":                      "a path is made of",
		"spiffe://mesh/orders?v=1":                    "a path is made of",
		"spiffe://mesh/orders#v":                      "a path is made of",
		"spiffe://mesh/order\u017f":                   "a path is made of",
		"spiffe://mesh/orders\n":                      "a path is made of",
		"spiffe://mesh?x/orders":                      "a trust domain is made of",
		"spiffe://" + strings.Repeat("a", 256) + "/x": "longer than 255",
		"spiffe://mesh/" + strings.Repeat("a", 2048):  "longer than 2048",
	} {
		if err := CheckID(id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, expected %q", id, err, want)
		}
	}
}

func TestIdentityIsTheOneURIOfAWorkload(t *testing.T) {
	ca := securetest.NewCA(t, "test")
	for name, c := range map[string]struct {
		leaf securetest.Leaf
		want string
	}{
		"a workload":        {securetest.Leaf{URIs: []string{"spiffe://mesh/orders"}}, "spiffe://mesh/orders"},
		"no URI":            {securetest.Leaf{Hosts: []string{"orders"}}, ""},
		"two URIs":          {securetest.Leaf{URIs: []string{"spiffe://mesh/orders", "spiffe://mesh/users"}}, ""},
		"another URI":       {securetest.Leaf{URIs: []string{"https://mesh/orders"}}, ""},
		"no path":           {securetest.Leaf{URIs: []string{"spiffe://mesh"}}, ""},
		"an encoded path":   {securetest.Leaf{URIs: []string{"spiffe://mesh/%6frders"}}, ""},
		"an authority's":    {securetest.Leaf{URIs: []string{"spiffe://mesh/orders"}, Authority: true}, ""},
		"with a host, too":  {securetest.Leaf{URIs: []string{"spiffe://mesh/orders"}, Hosts: []string{"orders"}}, "spiffe://mesh/orders"},
		"with a query":      {securetest.Leaf{URIs: []string{"spiffe://mesh/orders?a=b"}}, ""},
		"with an empty one": {securetest.Leaf{URIs: []string{"spiffe://mesh/orders?"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			chain := []*x509.Certificate{ca.Issue(t, c.leaf).TLS.Leaf, ca.Cert}
			if got := Identity(chain); got != c.want {
				t.Errorf("%q, expected %q", got, c.want)
			}
		})
	}
	if got := Identity(nil); got != "" {
		t.Errorf("without a certificate: %q", got)
	}
}

func FuzzCheckID(f *testing.F) {
	for _, s := range []string{"spiffe://mesh/orders", "spiffe://a.b/c/d", "spiffe://mesh/../x", "spiffe://%41/x", "spiffe://mesh/x?y#z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if CheckID(id) != nil {
			return
		}
		// Whatever is accepted reads the same for a general parser: two that look
		// at it agree on who it is.
		u, err := url.Parse(id)
		if err != nil || u.String() != id || u.Scheme != "spiffe" || u.User != nil || u.Port() != "" || u.RawQuery != "" || u.Fragment != "" ||
			"spiffe://"+u.Host+u.Path != id || u.Path == "" || len(id) > 2048 {
			t.Fatalf("accepted: %q, which is %+v, %v", id, u, err)
		}
	})
}

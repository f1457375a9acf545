package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/secure"
)

// TLS is how the listeners speak it.
type TLS struct {
	Inbound  ListenerTLS // of listen.inbound, and of the listen of every port that is not tcp
	Outbound ListenerTLS
	Gateway  ListenerTLS
}

// ListenerTLS is the TLS of a listener. Without certificates it is off.
type ListenerTLS struct {
	Mode         TLSMode      // empty: strict where there are certificates
	Certificates []KeyFiles   // chosen by the name that the client asks for; the first is the default
	Clients      *ClientTrust // nil: clients are asked for no certificate
	MinVersion   TLSVersion
}

// TLSMode is a secure.Mode in the file.
type TLSMode secure.Mode

// Validate refuses unknown modes.
func (m TLSMode) Validate() error {
	switch secure.Mode(m) {
	case "", secure.Strict, secure.Permissive, secure.Off:
		return nil
	}
	return fmt.Errorf("unknown mode %q, known are strict, permissive and off", string(m))
}

// KeyFiles are a certificate with its chain and its private key, both in PEM.
type KeyFiles struct{ Cert, Key string }

// ClientTrust is which clients' certificates are taken.
type ClientTrust struct {
	CA      string `yaml:"ca"`
	Require bool   // else a client may have none; one that is given is verified in any case
}

// SetDefaults is the defaults of its keys.
func (t *ClientTrust) SetDefaults() { t.Require = true }

// TLSVersion is the oldest version that is spoken, 1.2 or 1.3.
type TLSVersion string

// UnmarshalConf takes the version with quotation marks and without.
func (v *TLSVersion) UnmarshalConf(n conf.Node) error {
	if k := n.Kind(); k != conf.String && k != conf.Float {
		return fmt.Errorf(`expected "1.2" or "1.3", found %v`, k)
	}
	*v = TLSVersion(n.Text())
	return v.Validate()
}

// Validate refuses other versions: those before are broken (RFC 8996).
func (v TLSVersion) Validate() error {
	switch v {
	case "", "1.2", "1.3":
		return nil
	}
	return fmt.Errorf(`expected "1.2" or "1.3", found %q`, string(v))
}

// Number is the version's number on the wire.
func (v TLSVersion) Number() uint16 {
	if v == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// Validate finds what is wrong with the listener's TLS by itself.
func (l ListenerTLS) Validate() error {
	var errs []error
	mode := secure.Mode(l.Mode)
	if len(l.Certificates) == 0 {
		switch {
		case mode == secure.Strict || mode == secure.Permissive:
			errs = append(errs, conf.FieldErrorf("certificates", "at least one is needed for mode %s, such as [{cert: server.pem, key: server.key}]", mode))
		case l.Certificates != nil && mode == "":
			errs = append(errs, conf.FieldError("certificates", "there is none in the list: give one, or mode: off"))
		case l.MinVersion != "" && mode == "":
			errs = append(errs, conf.FieldError("minVersion", "has no use without certificates: TLS is off"))
		case l.Clients != nil && mode != secure.Off:
			errs = append(errs, conf.FieldError("clients", "has no use without certificates: TLS is off"))
		}
	}
	for i, k := range l.Certificates {
		errs = append(errs, k.complete(fmt.Sprintf("certificates[%d].", i), true))
	}
	if l.Clients != nil && l.Clients.CA == "" {
		errs = append(errs, conf.FieldError("clients.ca", "must be given: the authorities of clients' certificates"))
	}
	return errors.Join(errs...)
}

// complete finds a certificate without its key, and the other way round.
func (k KeyFiles) complete(path string, needed bool) error {
	switch {
	case k.Cert == "" && (k.Key != "" || needed):
		return conf.FieldError(path+"cert", "must be given: the certificate, and then its chain")
	case k.Key == "" && k.Cert != "":
		return conf.FieldError(path+"key", "must be given: the certificate's private key")
	}
	return nil
}

// Active reports whether the listener speaks TLS.
func (l ListenerTLS) Active() bool {
	return len(l.Certificates) > 0 && secure.Mode(l.Mode) != secure.Off
}

// UpstreamTLS is how TLS is spoken to endpoints. Without any key their
// certificates are verified by the system's authorities and the endpoints' own
// host names.
type UpstreamTLS struct {
	CA                 string   `yaml:"ca"` // empty: the system's authorities
	ServerName         string   // empty: the host of the endpoint's address
	Cert               string   // the sidecar's own, for servers that ask for one
	Key                string   // its private key
	Identities         []string // SPIFFE IDs, of which the server has to have one, instead of a name
	InsecureSkipVerify bool
}

// Validate finds what is wrong with it by itself.
func (u UpstreamTLS) Validate() error {
	errs := []error{KeyFiles{u.Cert, u.Key}.complete("", false)}
	if u.Identities != nil && len(u.Identities) == 0 {
		errs = append(errs, conf.FieldError("identities", "there is none in the list, which would take any: give one, or leave the key out"))
	}
	for i, id := range u.Identities {
		if err := secure.CheckID(id); err != nil {
			errs = append(errs, conf.FieldError(fmt.Sprintf("identities[%d]", i), err.Error()))
		}
	}
	if u.InsecureSkipVerify && (u.CA != "" || len(u.Identities) > 0) {
		errs = append(errs, conf.FieldError("insecureSkipVerify", "takes any certificate: ca and identities have no use beside it"))
	}
	if u.ServerName != "" {
		if err := checkServerName(u.ServerName); err != nil {
			errs = append(errs, conf.FieldError("serverName", err.Error()))
		}
	}
	return errors.Join(errs...)
}

// checkServerName takes a DNS name or an IP address.
func checkServerName(s string) error {
	if registry.CheckHostPort(s+":443", false) != nil && registry.CheckHostPort("["+s+"]:443", false) != nil {
		return fmt.Errorf("%q is neither a host name nor an IP address", s)
	}
	return nil
}

// namedListener is a ListenerTLS with its key.
type namedListener struct {
	key string
	tls *ListenerTLS
}

func (c *Config) listenersTLS() []namedListener {
	return []namedListener{{"tls.inbound", &c.TLS.Inbound}, {"tls.outbound", &c.TLS.Outbound}, {"tls.gateway", &c.TLS.Gateway}}
}

// ClientsTLS are all UpstreamTLS by their keys.
func (c *Config) ClientsTLS() map[string]*UpstreamTLS {
	all := map[string]*UpstreamTLS{}
	add := func(key string, u *UpstreamTLS) {
		if u != nil {
			all[key] = u
		}
	}
	for name, u := range c.Upstreams {
		add(fmt.Sprintf("upstreams[%q].tls", name), u.TLS)
	}
	if c.App != nil {
		add("app.tls", c.App.TLS)
		for i, p := range c.App.Ports {
			if p.TLS != c.App.TLS { // it has its own
				add(fmt.Sprintf("app.ports[%d].tls", i), p.TLS)
			}
		}
	}
	return all
}

// validateTLS reads the files that are named.
func (c *Config) validateTLS() []error {
	var errs []error
	pair := func(path string, k KeyFiles) {
		if k.Cert == "" || k.Key == "" {
			return // said by its own Validate
		}
		_, err := secure.ReadKeyPair(c.Path(k.Cert), c.Path(k.Key))
		var p *secure.PairError
		if errors.As(err, &p) {
			errs = append(errs, conf.FieldError(path+string(p.Part), p.Error()))
		}
	}
	bundle := func(path, file string) {
		if file == "" {
			return
		}
		if _, err := secure.ReadBundle(c.Path(file)); err != nil {
			errs = append(errs, conf.FieldError(path, err.Error()))
		}
	}
	for _, l := range c.listenersTLS() {
		for i, k := range l.tls.Certificates {
			pair(fmt.Sprintf("%s.certificates[%d].", l.key, i), k)
		}
		if l.tls.Clients != nil {
			bundle(l.key+".clients.ca", l.tls.Clients.CA)
		}
	}
	clients := c.ClientsTLS()
	for _, key := range slices.Sorted(maps.Keys(clients)) {
		u := clients[key]
		pair(key+".", KeyFiles{u.Cert, u.Key})
		bundle(key+".ca", u.CA)
	}
	if c.App != nil {
		for i, p := range c.App.Ports {
			if p.Protocol == registry.ProtocolTCP && p.TLS != nil && p.TLS != c.App.TLS {
				errs = append(errs, conf.FieldError(fmt.Sprintf("app.ports[%d].tls", i), "a tcp port is passed through as it is, with the TLS that client and app speak themselves"))
			}
		}
	}
	return errs
}

// TLSFiles are the files of certificates, keys and authorities that the
// configuration names.
func (c *Config) TLSFiles() []string {
	var files []string
	add := func(paths ...string) {
		for _, p := range paths {
			if p != "" {
				files = append(files, c.Path(p))
			}
		}
	}
	for _, l := range c.listenersTLS() {
		for _, k := range l.tls.Certificates {
			add(k.Cert, k.Key)
		}
		if l.tls.Clients != nil {
			add(l.tls.Clients.CA)
		}
	}
	for _, u := range c.ClientsTLS() {
		add(u.CA, u.Cert, u.Key)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// warningsTLS say what is allowed and not safe.
func (c *Config) warningsTLS() []string {
	var warnings []string
	keys := map[string]bool{}
	for _, l := range c.listenersTLS() {
		for _, k := range l.tls.Certificates {
			keys[c.Path(k.Key)] = true
		}
	}
	if c.TLS.Gateway.Active() && c.Listen.Gateway == "" {
		warnings = append(warnings, "tls.gateway: has no use, for listen.gateway is off")
	}
	if c.App != nil && c.TLS.Inbound.Active() && secure.Mode(c.TLS.Inbound.Mode) != secure.Permissive && c.registryKind() != "" {
		warnings = append(warnings, "tls.inbound: who finds the app through the control plane calls it without TLS, and is refused: "+
			"take mode: permissive until every caller has it as an upstream with tls")
	}
	clients := c.ClientsTLS()
	for _, name := range slices.Sorted(maps.Keys(clients)) {
		u := clients[name]
		if u.Key != "" {
			keys[c.Path(u.Key)] = true
		}
		if u.InsecureSkipVerify {
			warnings = append(warnings, name+".insecureSkipVerify: any certificate is taken, so that anybody between can read and change everything")
		}
	}
	for _, path := range slices.Sorted(maps.Keys(keys)) {
		if w := secure.KeyWarning(path); w != "" {
			warnings = append(warnings, w)
		}
	}
	if c.App != nil && c.TLS.Inbound.Active() {
		var plain []string
		for _, p := range c.App.Ports {
			if p.Protocol == registry.ProtocolTCP {
				plain = append(plain, p.Name)
			}
		}
		if len(plain) > 0 {
			warnings = append(warnings, "tls.inbound does not hold for tcp ports, which are passed through as they are: "+strings.Join(plain, ", "))
		}
	}
	return warnings
}

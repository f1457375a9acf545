package object

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
	"unique"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Bounds of a Host. They are far above what a machine has, and keep a wrong
// mapping from filling the control plane.
const (
	maxHostText      = 256 // bytes of a name, a part of the locality, a label's key
	maxHostLabel     = 1024
	maxHostLabels    = 64
	maxHostAddresses = 64
)

// Host is a machine, mostly from a CMDB. It has no namespace. The instances
// that run on it take its locality, status and labels.
type Host struct {
	Meta
	Spec registry.Host
	// AssetID is another name of the machine that instances may give.
	AssetID string
	Source  HostSource
}

// HostSource is where the knowledge of a host is from, for people.
type HostSource struct {
	Name string    `json:"name,omitempty"`
	Run  string    `json:"run,omitempty"` // of the program that brought it
	Time time.Time `json:"time,omitzero"`
}

// Metadata implements Object.
func (h *Host) Metadata() Meta { return h.Meta }

// hostFile is a Host as it is written.
type hostFile struct {
	APIVersion string       `yaml:"apiVersion"`
	Kind       string       `yaml:"kind"`
	Metadata   hostMetadata `yaml:"metadata"`
	Spec       hostSpec     `yaml:"spec"`
	Status     conf.Node    `yaml:"status"`
}

type hostMetadata struct {
	Name              string            `yaml:"name"`
	Namespace         string            `yaml:"namespace"`
	Labels            map[string]string `yaml:"labels"`
	Annotations       map[string]string `yaml:"annotations"`
	CreationTimestamp time.Time         `yaml:"creationTimestamp"`
}

type hostSpec struct {
	Key       string            `yaml:"key"`
	Name      string            `yaml:"name"`
	AssetID   string            `yaml:"assetID"`
	Network   string            `yaml:"network"`
	Addresses []string          `yaml:"addresses"`
	Locality  localityFile      `yaml:"locality"`
	Status    registry.Status   `yaml:"status"`
	Labels    map[string]string `yaml:"labels"`
	Source    sourceFile        `yaml:"source"`
}

type localityFile struct {
	Region  string `yaml:"region"`
	Zone    string `yaml:"zone"`
	Subzone string `yaml:"subzone"`
}

type sourceFile struct {
	Name string    `yaml:"name"`
	Run  string    `yaml:"run"`
	Time time.Time `yaml:"time"`
}

// Validate says what is wrong with the metadata.
func (m *hostMetadata) Validate() error {
	var errs []error
	if err := checkObjectName(m.Name); err != nil {
		errs = append(errs, conf.FieldErrorf("name", "%v", err))
	}
	if m.Namespace != "" {
		errs = append(errs, conf.FieldError("namespace", "a Host has none: leave it out"))
	}
	return errors.Join(errs...)
}

// Validate says what is wrong with the machine.
func (s *hostSpec) Validate() error {
	var errs []error
	add := func(path, format string, args ...any) { errs = append(errs, conf.FieldErrorf(path, format, args...)) }
	if s.Key == "" {
		add("key", "must be given: the machine's stable id in the CMDB")
	}
	if s.Network == "" {
		add("network", "must not be empty: leave it out for %q", registry.DefaultNetwork)
	}
	for _, f := range []struct{ path, text string }{
		{"key", s.Key},
		{"name", s.Name},
		{"assetID", s.AssetID},
		{"network", s.Network},
		{"locality.region", s.Locality.Region},
		{"locality.zone", s.Locality.Zone},
		{"locality.subzone", s.Locality.Subzone},
		{"source.name", s.Source.Name},
		{"source.run", s.Source.Run},
	} {
		if err := checkHostText(f.text, maxHostText); err != nil {
			add(f.path, "%v", err)
		}
	}
	switch s.Status {
	case registry.StatusUp, registry.StatusDraining, registry.StatusDown:
	default:
		add("status", "%.40q is none of up, draining and down", s.Status)
	}
	s.checkAddresses(add)
	if len(s.Labels) > maxHostLabels {
		add("labels", "has %d entries, at most %d are kept", len(s.Labels), maxHostLabels)
		return errors.Join(errs...)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		at := fmt.Sprintf("labels[%q]", key)
		if key == "" {
			add(at, "a label must have a name")
		} else if err := checkHostText(key, maxHostText); err != nil {
			add(at, "its name %v", err)
		}
		if err := checkHostText(s.Labels[key], maxHostLabel); err != nil {
			add(at, "%v", err)
		}
	}
	return errors.Join(errs...)
}

func (s *hostSpec) checkAddresses(add func(path, format string, args ...any)) {
	if len(s.Addresses) > maxHostAddresses {
		add("addresses", "has %d entries, at most %d are kept", len(s.Addresses), maxHostAddresses)
		return
	}
	seen := make(map[netip.Addr]int, len(s.Addresses))
	for i, a := range s.Addresses {
		at := fmt.Sprintf("addresses[%d]", i)
		ip, err := netip.ParseAddr(a)
		if err != nil {
			add(at, "%.100q is not an IP address", a)
			continue
		}
		if ip = ip.Unmap().WithZone(""); ip.IsUnspecified() {
			add(at, "%q is unspecified: nobody can be reached there", a)
		}
		if first, ok := seen[ip]; ok {
			add(at, "%q is addresses[%d] already", a, first)
		}
		seen[ip] = i
	}
}

func checkHostText(s string, limit int) error {
	switch {
	case len(s) > limit:
		return fmt.Errorf("is longer than %d bytes", limit)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%q has a control character in it", s)
		}
	}
	return nil
}

// checkObjectName checks the name of an object that is made from somebody
// else's id: at most 253 of a-z, 0-9, '.' and '-', with a letter or digit at
// both ends.
func checkObjectName(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > 253:
		return fmt.Errorf("%.20q… is longer than 253 characters", s)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || (c == '-' || c == '.') && i > 0 && i < len(s)-1 {
			continue
		}
		return fmt.Errorf("%q may have a-z, 0-9, '.' and '-' in it, with a letter or digit at both ends", s)
	}
	return nil
}

func decodeHost(n conf.Node) (Object, error) {
	f := hostFile{Spec: hostSpec{Network: registry.DefaultNetwork, Status: registry.StatusUp}}
	if err := n.Decode(&f); err != nil {
		return nil, err
	}
	s := &f.Spec
	h := &Host{
		Meta: Meta{
			ID:     ID{Kind: KindHost, Name: f.Metadata.Name},
			Labels: f.Metadata.Labels, Annotations: f.Metadata.Annotations,
			Created: f.Metadata.CreationTimestamp, Pos: n.Pos(),
		},
		Spec: registry.Host{
			Key: s.Key, Name: s.Name, Network: shared(s.Network),
			Locality: registry.Locality{
				Region: shared(s.Locality.Region), Zone: shared(s.Locality.Zone), Subzone: shared(s.Locality.Subzone),
			},
			Status: registry.Status(shared(string(s.Status))), Labels: sharedLabels(s.Labels),
		},
		AssetID: s.AssetID,
		Source:  HostSource{Name: shared(s.Source.Name), Run: shared(s.Source.Run), Time: s.Source.Time},
	}
	for _, a := range s.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			h.Spec.Addresses = append(h.Spec.Addresses, ip.Unmap().WithZone("").String())
		}
	}
	return h, nil
}

// shared is the one copy of a text that many hosts have: a hundred thousand of
// them are in a dozen zones.
func shared(s string) string { return unique.Make(s).Value() }

func sharedLabels(labels map[string]string) map[string]string {
	if len(labels) == 0 {
		return nil
	}
	out := make(map[string]string, len(labels))
	for key, value := range labels {
		out[shared(key)] = shared(value)
	}
	return out
}

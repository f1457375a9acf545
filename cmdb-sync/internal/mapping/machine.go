package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/outrigger-mesh/outrigger/registry"
)

// Field is one field of a host that a record may give, as a bit.
type Field uint16

// The fields. That one is not there is not that it is empty: an absent field
// leaves the host as it is, an empty one empties it.
const (
	HasAddresses Field = 1 << iota
	HasName
	HasAssetID
	HasNetwork
	HasRegion
	HasZone
	HasSubzone
	HasStatus
)

// Machine is what a record says about one host.
type Machine struct {
	Key       string
	Name      string
	AssetID   string
	Network   string
	Addresses []string // IP addresses in their canonical form, sorted
	Locality  registry.Locality
	Status    registry.Status
	// Labels are shared between machines and must not be changed.
	Labels map[string]string
	Has    Field // which of the fields above are given; labels speak for themselves
	// Retired is whether the source says that the machine is to go.
	Retired bool
	// Word is the status in the source's own words.
	Word string
	Item int // the record's place in its source
}

// Bounds of what a host may hold.
const (
	MaxText      = 253 // bytes of a key, name, zone, label value...
	MaxAddresses = 64
)

func checkText(s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%d bytes, %d are the most", len(s), MaxText)
	}
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	if i := strings.IndexFunc(s, unicode.IsControl); i >= 0 {
		return fmt.Errorf("a control character in %q", s)
	}
	return nil
}

var labelKey = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$`)

func checkLabelKey(key string) error {
	if len(key) > MaxText || !labelKey.MatchString(key) {
		return fmt.Errorf("%q cannot be a label's key: it is up to %d letters, digits and - _ . / with a letter or digit at both ends", key, MaxText)
	}
	return nil
}

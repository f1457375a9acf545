package xds

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// fields says which of a message's fields may be set: those that are carried,
// and those that are ignored since the request's way does not depend on them.
// Any other that is set makes the resource refused.
type fields map[protoreflect.Name]bool

func allow(carried, ignored string) fields {
	f := fields{}
	for n := range strings.FieldsSeq(carried + " " + ignored) {
		f[protoreflect.Name(n)] = true
	}
	return f
}

// problems collects all that is wrong with one resource.
type problems []string

// maxProblems bounds what one NACK says of one resource.
const maxProblems = 16

func (p *problems) addf(at, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if at != "" {
		msg = at + ": " + msg
	}
	*p = append(*p, msg)
}

// check adds the fields of m that are set and not allowed.
func (p *problems) check(at string, m proto.Message, f fields) {
	var set []string
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !f[fd.Name()] {
			set = append(set, string(fd.Name()))
		}
		return true
	})
	slices.Sort(set)
	for _, name := range set {
		p.addf(at, "%s is not supported", name)
	}
}

// err is all problems as one error; nil if there are none.
func (p *problems) err() error {
	switch n := len(*p); {
	case n == 0:
		return nil
	case n > maxProblems:
		return fmt.Errorf("%s; and %d more", strings.Join((*p)[:maxProblems], "; "), n-maxProblems)
	}
	return fmt.Errorf("%s", strings.Join(*p, "; "))
}

// validated is what the generated messages offer: the constraints that are
// written beside the fields in Envoy's API.
type validated interface {
	proto.Message
	ValidateAll() error
}

// unpack decodes body into m and checks the API's own constraints.
func unpack(body *anypb.Any, m validated) error {
	if err := body.UnmarshalTo(m); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if err := m.ValidateAll(); err != nil {
		return fmt.Errorf("against the API's constraints: %w", err)
	}
	return nil
}

// named checks that a resource says the name that it came under.
func (p *problems) named(got, want string) {
	if got != want {
		p.addf("", "says that its name is %q", got)
	}
}

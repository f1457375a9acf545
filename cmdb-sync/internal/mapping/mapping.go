// Package mapping turns the records of a source into hosts by the CEL
// expressions of the configuration. Expressions are compiled and type-checked
// once, with mistakes at their place in the file; each is bounded in what it
// may cost for one record. A record that cannot be mapped says why; it is up
// to the caller to keep it from being lost.
package mapping

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// CostLimit bounds one expression on one record, in CEL's units: about the
// number of steps. A mapping takes some tens.
const CostLimit = 100_000

// Mapper maps records. It is not safe for concurrent use.
type Mapper struct {
	key       *expression
	addresses *expression
	texts     []textField
	labels    []label
	status    *Status
	from      *expression
	record    binding
	interner  *interner
}

// textField is an expression whose text goes to one field as it is.
type textField struct {
	expr   *expression
	field  Field
	pooled bool // few machines have a value of their own
}

type label struct {
	key  string
	expr *expression
}

// expression is one compiled expression.
type expression struct {
	path    string // such as map.locality.zone
	program cel.Program
	// field is set where the expression is r.field and records are flat: most
	// are, and looking into the record is a hundred times cheaper than CEL.
	field string
}

// Compile makes a mapper. Fields, where not nil, are the names that records
// certainly have: others are asked for with has(). Mistakes are conf.Errors,
// all of them.
func Compile(c *Config, shape source.Shape, fields []string, places *Places) (*Mapper, error) {
	record := cel.MapType(cel.StringType, cel.StringType)
	if shape == source.Tree {
		record = cel.MapType(cel.StringType, cel.DynType)
	}
	env, err := cel.NewEnv(cel.Variable("r", record), cel.OptionalTypes(), ext.Strings(), ext.Lists(), cel.ParserExpressionSizeLimit(16<<10))
	if err != nil {
		return nil, fmt.Errorf("mapping: making the CEL environment: %w", err)
	}
	k := &compiler{env: env, shape: shape, fields: fields, places: places}
	m := &Mapper{interner: newInterner(), status: c.Status}
	m.key = k.compile(c.Key, text)
	if c.Addresses.Given() {
		m.addresses = k.compile(c.Addresses, textList)
	} else {
		m.addresses = k.compile(c.Address, text)
	}
	for _, f := range []struct {
		expr   Expr
		field  Field
		pooled bool
	}{
		{c.Name, HasName, false},
		{c.AssetID, HasAssetID, false},
		{c.Network, HasNetwork, true},
		{c.Locality.Region, HasRegion, true},
		{c.Locality.Zone, HasZone, true},
		{c.Locality.Subzone, HasSubzone, true},
	} {
		if e := k.compile(f.expr, text); e != nil {
			m.texts = append(m.texts, textField{e, f.field, f.pooled})
		}
	}
	if c.Status != nil {
		m.from = k.compile(c.Status.From, text)
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if e := k.compile(c.Labels[key], text); e != nil {
			m.labels = append(m.labels, label{key, e})
		}
	}
	if err := conf.Join(k.errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// compiler gathers the mistakes of all expressions.
type compiler struct {
	env    *cel.Env
	shape  source.Shape
	fields []string
	places *Places
	errs   []error
}

type want uint8

const (
	text want = iota
	textList
)

func (w want) String() string {
	if w == textList {
		return "a list of text"
	}
	return "text"
}

// accepts is whether a value of type t may turn out to be wanted.
func (w want) accepts(t *cel.Type) bool {
	if t.Kind() == types.OpaqueKind && t.TypeName() == "optional_type" {
		t = t.Parameters()[0]
	}
	switch t.Kind() { //nolint:exhaustive // all others are refused
	case types.DynKind:
		return true
	case types.StringKind:
		return w == text
	case types.ListKind:
		return w == textList && text.accepts(t.Parameters()[0])
	}
	return false
}

// compile is nil where there is no expression, or no right one.
func (k *compiler) compile(e Expr, w want) *expression {
	if !e.Given() {
		return nil
	}
	checked, issues := k.env.Compile(e.Node.Text())
	if issues.Err() != nil {
		list := slices.Clone(issues.Errors())
		slices.SortStableFunc(list, func(a, b *cel.Error) int {
			return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
		})
		for _, issue := range list {
			k.fail(e, issue.Location.Line(), issue.Location.Column(), "%s%s", oneLine(issue.Message), hint(issue.Message))
		}
		return nil
	}
	if !w.accepts(checked.OutputType()) {
		k.fail(e, 1, 0, "expected %s, the expression gives %s%s", w, checked.OutputType(), conversion(w, checked.OutputType()))
		return nil
	}
	if !k.checkFields(e, checked) {
		return nil
	}
	program, err := k.env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(CostLimit))
	if err != nil {
		k.fail(e, 1, 0, "%s", oneLine(err.Error()))
		return nil
	}
	compiled := &expression{path: e.Node.Path(), program: program}
	if root := checked.NativeRep().Expr(); k.shape == source.Text && root.Kind() == ast.SelectKind {
		if s := root.AsSelect(); !s.IsTestOnly() && s.Operand().Kind() == ast.IdentKind {
			compiled.field = s.FieldName()
		}
	}
	return compiled
}

// checkFields refuses names that records do not certainly have, unless the
// expression asks for them.
func (k *compiler) checkFields(e Expr, checked *cel.Ast) bool {
	if k.fields == nil {
		return true
	}
	native := checked.NativeRep()
	known := slices.Clone(k.fields)
	selects := func(visit func(id int64, field string, tested bool)) {
		ast.PostOrderVisit(native.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
			if x.Kind() != ast.SelectKind {
				return
			}
			if s := x.AsSelect(); s.Operand().Kind() == ast.IdentKind && s.Operand().AsIdent() == "r" {
				visit(x.ID(), s.FieldName(), s.IsTestOnly())
			}
		}))
	}
	selects(func(_ int64, field string, tested bool) {
		if tested {
			known = append(known, field)
		}
	})
	ok := true
	selects(func(id int64, field string, _ bool) {
		if slices.Contains(known, field) {
			return
		}
		near := ""
		if n := conf.Nearest(field, k.fields); n != "" {
			near = fmt.Sprintf(", did you mean %q?", n)
		}
		at := native.SourceInfo().GetStartLocation(id)
		k.fail(e, at.Line(), at.Column()+1, "no record has the field %q%s", field, near)
		ok = false
	})
	return ok
}

func (k *compiler) fail(e Expr, line, column int, format string, args ...any) {
	k.errs = append(k.errs, &conf.Error{Pos: k.places.In(e.Node, line, column), Msg: e.Node.Path() + ": " + fmt.Sprintf(format, args...)})
}

func oneLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSuffix(strings.ReplaceAll(line, " (in container '')", ""), ".")
}

// hint is for the mistake that everybody makes once.
func hint(message string) string {
	if name, ok := strings.CutPrefix(message, "undeclared reference to '"); ok {
		if name, _, ok = strings.Cut(name, "'"); ok && name != "" && !strings.ContainsAny(name, "()_@") {
			return fmt.Sprintf(`: fields of the record are r.%s; text itself is written in quotes of its own, '%q'`, name, name)
		}
	}
	return ""
}

func conversion(w want, t *cel.Type) string {
	switch {
	case w == textList:
		return ": write [...]"
	case t.Kind() == types.ListKind:
		return ": take one of it, as in [0], or use addresses for several"
	default:
		return ": write string(...)"
	}
}

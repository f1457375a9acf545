package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

func (o *options) validate() *cobra.Command {
	return o.withConfig(&cobra.Command{
		Use: "validate", Short: "Check the configuration and its expressions, without network, and print every mistake", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			c, j, err := o.load()
			if err != nil {
				return err
			}
			defer j.Close()
			_, err = fmt.Fprintf(o.stdout, "configuration is right: source %s, guard mode %s\n", c.Sources[0].Name, c.Guard.Mode)
			return err
		},
	})
}

func (o *options) fetch() *cobra.Command {
	c := o.withAllowEmpty(o.withConfig(&cobra.Command{
		Use: "fetch", Short: "Read the source, map it, and write the snapshot as JSON Lines", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, j, err := o.load()
			if err != nil {
				return err
			}
			defer j.Close()
			s, err := j.Fetch(c.Context())
			if err != nil {
				return err
			}
			if o.out == "" {
				return s.Write(o.stdout)
			}
			if err := snapshot.WriteFile(o.out, s.Write); err != nil {
				return err
			}
			_, err = fmt.Fprintf(o.stdout, "%s: %d records, %d hosts, %d quarantined\n", o.out, s.Total, len(s.Entries), len(s.Quarantined))
			return err
		},
	}))
	c.Flags().StringVar(&o.out, "out", "", "`file` to write; standard output if none")
	return c
}

func (o *options) plan() *cobra.Command {
	c := o.withOutput(o.withAllowEmpty(o.withConfig(&cobra.Command{
		Use: "plan", Short: "Print what would be changed, and write it to a file that can be applied", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.show(c.Context()) },
	})))
	c.Flags().StringVar(&o.out, "out", "", "`file` to write the plan to")
	c.Flags().StringVar(&o.from, "from", "", "plan from this snapshot `file` instead of the source")
	return c
}

func (o *options) diff() *cobra.Command {
	c := o.withOutput(o.withAllowEmpty(o.withConfig(&cobra.Command{
		Use: "diff", Short: "Print what would be changed", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.show(c.Context()) },
	})))
	c.Flags().StringVar(&o.from, "from", "", "plan from this snapshot `file` instead of the source")
	return c
}

// show plans, prints and writes the plan; the exit code says whether something
// is to be done.
func (o *options) show(ctx context.Context) error {
	if err := o.checkOutput(); err != nil {
		return err
	}
	_, j, err := o.load()
	if err != nil {
		return err
	}
	defer j.Close()
	var s *snapshot.Snapshot
	if o.from != "" {
		s, err = j.Use(o.from)
	} else {
		s, err = j.Fetch(ctx)
	}
	if err != nil {
		return err
	}
	p, err := j.Plan(ctx, s)
	if err != nil {
		return err
	}
	if o.out != "" {
		if err := p.WriteFile(o.out); err != nil {
			return err
		}
	}
	if err := o.print(p); err != nil {
		return err
	}
	switch {
	case p.Blocked():
		return &job.BlockedError{Results: guard.Blocked(p.Guards), Hash: p.Hash}
	case !p.Empty():
		return run.WithCode(CodeChanges, nil)
	}
	return nil
}

func (o *options) print(p *plan.Plan) error {
	if o.output == "json" {
		return p.WriteJSON(o.stdout)
	}
	if err := p.WriteTable(o.stdout, colourful(o.stdout)); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	return o.hint(p)
}

// hint says what can be done with the plan.
func (o *options) hint(p *plan.Plan) error {
	var err error
	switch {
	case p.Blocked() && o.out != "":
		_, err = fmt.Fprintf(o.stdout, "to approve this very plan: cmdb-sync apply %s -c %s --approve %s\n", o.out, o.file, p.Hash)
	case p.Blocked():
		_, err = fmt.Fprintf(o.stdout, "to approve it: cmdb-sync run --once -c %s --approve %s\n", o.file, p.Hash)
	case p.Empty():
	case o.out != "":
		_, err = fmt.Fprintf(o.stdout, "to apply it: cmdb-sync apply %s -c %s\n", o.out, o.file)
	}
	return err
}

func (o *options) apply() *cobra.Command {
	return o.withApprove(o.withOutput(o.withConfig(&cobra.Command{
		Use: "apply PLAN", Short: "Apply a plan file, unless a guard blocks it or the hosts have changed since",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return run.Usage(fmt.Errorf("apply takes one plan file, found %d arguments: make it with plan --out FILE, or plan and apply at once with run --once", len(args)))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.checkOutput(); err != nil {
				return err
			}
			return o.applyFile(c.Context(), args[0])
		},
	})))
}

func (o *options) applyFile(ctx context.Context, path string) error {
	c, j, err := o.load()
	if err != nil {
		return err
	}
	defer j.Close()
	p, err := plan.ReadFile(path)
	if err != nil {
		return err
	}
	if p.Source != c.Sources[0].Name || p.Server != c.Controlplane.Server {
		return fmt.Errorf("%s is a plan of the source %s for %s, the configuration is of %s for %s", path, p.Source, p.Server, c.Sources[0].Name, c.Controlplane.Server)
	}
	if p.Config != c.Hash {
		return fmt.Errorf("%s was made by another configuration than %s is now: plan again", path, o.file)
	}
	result, err := j.Apply(ctx, p)
	if err != nil {
		return explained(err, path, o.file)
	}
	if o.output == "json" {
		return writeJSON(o.stdout, result)
	}
	if p.Empty() {
		_, err = fmt.Fprintln(o.stdout, "nothing to apply")
		return err
	}
	_, err = fmt.Fprintf(o.stdout, "applied: %d added, %d modified, %d drained, %d removed, at revision %s\n",
		p.Counts.Add, p.Counts.Modify, p.Counts.Drain, p.Counts.Remove, result.Revision)
	return err
}

// explained adds how to approve, where a guard blocks.
func explained(err error, path, file string) error {
	var blocked *job.BlockedError
	if !errors.As(err, &blocked) {
		return err
	}
	return fmt.Errorf("%w\nto approve this very plan: cmdb-sync apply %s -c %s --approve %s", err, path, file, blocked.Hash)
}

// colourful is whether w is a terminal of someone who wants colour
// (no-color.org).
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

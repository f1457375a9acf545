// Package command is cmdb-sync's command line: its subcommands, their exit
// codes, and the one place where its parts are put together.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/apply"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/config"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source/builtin"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
)

// The exit codes beside 0 (done, or nothing to do), 1 (wrong configuration, or
// another failure) and 2 (wrong usage).
const (
	CodeBlocked = 3 // by a guard
	CodeSource  = 4 // the source failed
	CodeChanges = 5 // changes are pending: plan and diff
	CodeStale   = 6 // the hosts changed since the plan was made
)

// Main is the whole of the program. It does not return.
func Main() {
	run.Main(func(ctx context.Context) error {
		return Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

// options are the flags of all commands.
type options struct {
	file   string // of the configuration
	output string // json or table
	out    string // file to write to
	from   string // snapshot to plan from
	once   bool
	job    job.Options

	stdout, stderr io.Writer
}

// Execute runs the command line that args are, without the program's name. It
// ends when ctx does. What a command is asked for goes to stdout, its log to
// stderr; the error is not printed.
func Execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := &options{stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "cmdb-sync",
		Short: "Outrigger's bridge from a CMDB: machines become hosts of the mesh",
		Long: `cmdb-sync reads machines from a CMDB, plans the difference to the hosts that the
control plane has, refuses what looks like a broken source, and applies the rest.

Exit codes: 0 done or nothing to do, 1 wrong configuration or failure, 2 wrong
usage, 3 blocked by a guard, 4 the source failed, 5 changes are pending (plan,
diff), 6 the plan is stale.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return run.Usage(fmt.Errorf("a command is missing\n\n%s", c.UsageString()))
		},
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return run.Usage(err) })
	root.AddCommand(o.validate(), o.fetch(), o.plan(), o.diff(), o.apply(), o.run(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(stdout, "cmdb-sync", version.String())
			return err
		},
	})
	return coded(root.ExecuteContext(ctx))
}

// coded gives an error the exit code of its kind.
func coded(err error) error {
	var source *job.SourceError
	var blocked *job.BlockedError
	switch {
	case errors.As(err, &blocked):
		return run.WithCode(CodeBlocked, err)
	case errors.As(err, &source):
		return run.WithCode(CodeSource, err)
	case errors.Is(err, apply.ErrStale):
		return run.WithCode(CodeStale, fmt.Errorf("%w: plan again", err))
	}
	return err
}

// withConfig gives a command the flag for the configuration.
func (o *options) withConfig(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&o.file, "config", "c", config.DefaultFile, "configuration `file`")
	return c
}

func (o *options) withOutput(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&o.output, "output", "o", "table", "`format` of what is printed: table or json")
	return c
}

func (o *options) withAllowEmpty(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&o.job.AllowEmpty, "allow-empty", false, "believe a source that has no records")
	return c
}

func (o *options) withApprove(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&o.job.Approve, "approve", "", "apply the plan of that `hash` though guards block it")
	return c
}

func (o *options) checkOutput() error {
	if o.output != "table" && o.output != "json" {
		return run.Usage(fmt.Errorf("unknown output %q, known are table, json", o.output))
	}
	return nil
}

// load reads the configuration and makes the job of it.
func (o *options) load() (*config.Config, *job.Job, error) {
	c, err := config.Load(o.file, builtin.Kinds())
	if err != nil {
		return nil, nil, err
	}
	level, err := run.ParseLevel(c.Log.Level)
	if err != nil {
		return nil, nil, err
	}
	j, err := job.New(c, o.job, run.NewLogger(o.stderr, c.Log.Format, level))
	return c, j, err
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if c.HasSubCommands() {
		return run.Usage(fmt.Errorf("unknown command %q, see %s --help", args[0], c.CommandPath()))
	}
	return run.Usage(fmt.Errorf("%s takes no arguments, found %q", c.CommandPath(), args[0]))
}

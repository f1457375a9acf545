// Package command is the sidecar's command line. It is public for programs that
// add middleware of their own:
//
//	func main() { command.Main(append(builtin.Kinds(), mine.Kind)...) }
package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/node"
)

// Main is the whole of the program, with these kinds of middleware. It does not
// return.
func Main(kinds ...middleware.Kind) {
	run.Main(func(ctx context.Context) error {
		return Execute(ctx, os.Args[1:], os.Stdout, os.Stderr, kinds...)
	})
}

// Execute runs the command line that args are, without the program's name. It
// ends when ctx does. What a command is asked for goes to stdout, its log to
// stderr; the error is not printed.
func Execute(ctx context.Context, args []string, stdout, stderr io.Writer, kinds ...middleware.Kind) error {
	root := &cobra.Command{
		Use:               "sidecar",
		Short:             "Outrigger's sidecar: an HTTP proxy beside an app, or an entry gateway without one",
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

	var file string
	withConfig := func(c *cobra.Command) *cobra.Command {
		c.Flags().StringVarP(&file, "config", "c", "", "configuration `file` (default: "+config.DefaultFile+" if there is one, else the defaults)")
		return c
	}
	root.AddCommand(
		withConfig(&cobra.Command{
			Use: "run", Short: "Serve until SIGTERM or SIGINT, then drain", Args: noArgs,
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), file, stderr, kinds) },
		}),
		withConfig(&cobra.Command{
			Use: "check", Short: "Check the configuration and print every mistake", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return check(file, stdout, kinds) },
		}),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintln(stdout, "sidecar", version.String())
				return err
			},
		},
	)
	return root.ExecuteContext(ctx)
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

// load reads the configuration and the files that it names, and finds the
// mistakes of all of them at once.
func load(file string, kinds []middleware.Kind) (*config.Config, error) {
	c, err := config.Load(file)
	if c == nil {
		return nil, err
	}
	return c, conf.Join(err, node.Check(c, kinds))
}

func check(file string, stdout io.Writer, kinds []middleware.Kind) error {
	c, err := load(file, kinds)
	if err != nil {
		return err
	}
	for _, w := range c.Warnings() {
		if _, err := fmt.Fprintln(stdout, "warning:", w); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(stdout, "configuration is right")
	return err
}

func serve(ctx context.Context, file string, stderr io.Writer, kinds []middleware.Kind) error {
	c, err := load(file, kinds)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	l, err := run.ParseLevel(c.Log.Level)
	if err != nil {
		return err
	}
	level.Set(l)
	log := run.NewLogger(stderr, c.Log.Format, level)
	for _, w := range c.Warnings() {
		log.Warn("configuration", "warning", w)
	}
	s, err := node.New(c, node.Options{Kinds: kinds, Logger: log, Level: level, Version: version.String()})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

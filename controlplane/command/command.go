// Package command is the control plane's command line: its configuration, its
// subcommands, and the one place where its parts are put together.
package command

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
)

// Main is the whole of the program. It does not return.
func Main() {
	run.Main(func(ctx context.Context) error {
		return Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

// Execute runs the command line that args are, without the program's name. It
// ends when ctx does. What a command is asked for goes to stdout, its log to
// stderr; the error is not printed.
func Execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:               "controlplane",
		Short:             "Outrigger's control plane: one model of the services, served over xDS",
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
		c.Flags().StringVarP(&file, "config", "c", "", "configuration `file` (default: "+DefaultFile+" if there is one, else the defaults)")
		return c
	}
	root.AddCommand(
		withConfig(&cobra.Command{
			Use: "run", Short: "Serve until SIGTERM or SIGINT", Args: noArgs,
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), file, stderr) },
		}),
		withConfig(&cobra.Command{
			Use: "check", Short: "Check the configuration and the objects, and print every mistake", Args: noArgs,
			RunE: func(_ *cobra.Command, _ []string) error { return check(file, stdout) },
		}),
		applyCommand(), getCommand(), deleteCommand(), statusCommand(),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: noArgs,
			RunE: func(_ *cobra.Command, _ []string) error {
				_, err := fmt.Fprintln(stdout, "controlplane", version.String())
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

// Package command is the sidecar's command line. It is public for programs that
// add middleware of their own:
//
//	func main() { command.Main(append(builtin.Kinds(), mine.Kind)...) }
package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/handover"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/node"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/systemd"
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
			Long: `Serve until SIGTERM or SIGINT, then drain.

The configuration and the middleware file are read again when they change, and
on SIGHUP. What is wrong in them changes nothing and is said in the log, in
metrics and on the admin port.

Sockets that systemd has bound (LISTEN_FDS) are used for the listeners that they
are named after, such as FileDescriptorName=inbound, or whose address they have;
it is told when the sidecar is ready, reloads and stops (NOTIFY_SOCKET).`,
			RunE: func(c *cobra.Command, _ []string) error { return serve(c.Context(), file, args, stderr, kinds) },
		}),
		withConfig(&cobra.Command{
			Use: "check", Short: "Check the configuration and print every mistake", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return check(file, stdout, kinds) },
		}),
		withConfig(&cobra.Command{
			Use: "upgrade", Short: "Have the running sidecar replaced by this program, without a gap", Args: noArgs,
			Long: `Have the running sidecar replaced by this program, without a gap.

The sidecar that listens on upgrade.socket of the configuration starts this very
binary with its own arguments, and gives it its listening sockets. When the new
process knows the services that the app calls, and finds the app healthy, it
takes over listeners and registration; the old one finishes what is under way and
exits. If the new one is not ready within upgrade.timeout, it is ended, the old
one goes on untouched, and this command says why and exits with 1.

Only the sidecar's own user and root may ask.`,
			RunE: func(c *cobra.Command, _ []string) error { return upgrade(c.Context(), file, stdout, kinds) },
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

func serve(ctx context.Context, file string, args []string, stderr io.Writer, kinds []middleware.Kind) error {
	predecessor, given, err := inherited()
	if err != nil {
		return err
	}
	if err = serveAfter(ctx, predecessor, given, file, args, stderr, kinds); err != nil && predecessor != nil {
		predecessor.Failed(err)
	}
	return err
}

// inherited is what this process was started with: a predecessor, or sockets of
// systemd's. The variables are not for those that this one starts.
func inherited() (*handover.Predecessor, []node.Socket, error) {
	predecessor, err := handover.Inherit(os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	activated, err := systemd.Listeners(os.Getenv)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{handover.Environment, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, nil, err
		}
	}
	var given []node.Socket
	for _, s := range activated {
		given = append(given, node.Socket{Name: s.Name, Listener: s.Listener})
	}
	if predecessor != nil {
		for i, s := range predecessor.Sockets {
			given = append(given, node.Socket{Name: s.Name, Address: s.Address, Listener: predecessor.Listeners[i]})
		}
	}
	return predecessor, given, nil
}

func serveAfter(
	ctx context.Context, predecessor *handover.Predecessor, given []node.Socket, file string, args []string, stderr io.Writer, kinds []middleware.Kind,
) error {
	c, err := load(file, kinds)
	if err != nil {
		return err
	}
	if predecessor != nil {
		c.KeepID(predecessor.Identity["node.id"])
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
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s, err := node.New(c, node.Options{
		Kinds: kinds, Logger: log, Level: level, Version: version.String(),
		Load: func() (*config.Config, error) { return config.Load(c.File) }, Reload: hangups,
		Args: args, Sockets: given, Predecessor: predecessor, Notify: systemd.Notifier(os.Getenv("NOTIFY_SOCKET")),
	})
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// upgrade asks the running sidecar to give its place to this program. What is
// wrong with the configuration is said before anything happens.
func upgrade(ctx context.Context, file string, stdout io.Writer, kinds []middleware.Kind) error {
	c, err := load(file, kinds)
	if err != nil {
		return err
	}
	if c.Upgrade.Socket == "" {
		return fmt.Errorf("%s: upgrade.socket is not set: a running sidecar can be asked for an upgrade once it was started with it", cmp.Or(c.File, "no configuration file"))
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the path of this program is not known: %w", err)
	}
	// The sidecar keeps the limit; this is for one that does not answer.
	ctx, cancel := context.WithTimeout(ctx, c.Upgrade.Timeout+time.Minute)
	defer cancel()
	result, err := handover.Ask(ctx, c.UpgradeSocket(), handover.Request{Binary: binary})
	if err != nil {
		return fmt.Errorf("not upgraded: %w", err)
	}
	_, err = fmt.Fprintf(stdout, "upgraded: process %d has taken over from %d, which finishes what is under way\n", result.NewPID, result.OldPID)
	return err
}

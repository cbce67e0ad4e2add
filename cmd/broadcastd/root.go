package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// version is what a release's linker sets; a build from a checkout says more in
// versionText.
var version = "0.1.0-dev"

// A moment is when the process started, for the log.
type moment = time.Time

func now() moment { return time.Now() }

// run runs the command line args and returns the exit code.
func (p process) run(ctx context.Context, args []string) int {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errInterrupted) {
		text := err.Error()
		if strings.Contains(text, "\n") {
			text = "\n  " + strings.ReplaceAll(text, "\n", "\n  ")
		}
		fmt.Fprintln(p.err, "broadcastd:", text)
		if _, ok := errors.AsType[usageError](err); ok {
			fmt.Fprintln(p.err, "Run 'broadcastd --help', or --help behind a command, for what there is.")
		}
	}
	return exitCode(err)
}

func (p process) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "broadcastd",
		Short: "Live media in, MoQ out",
		Long: `broadcastd takes live video in from an encoder and serves it over MoQ Transport
(QUIC and WebTransport), with a delay well below a second.

See pictures at once:

  broadcastd serve --demo        then open http://localhost:8080/`,
		Example: `  broadcastd serve
  broadcastd publish --relay moqt://localhost:4443 --insecure --namespace stream/local/cam movie.mp4
  broadcastd record  --relay moqt://localhost:4443 --insecure --namespace stream/local/cam --output cam.mp4`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(p.serveCommand(), p.publishCommand(), p.viewCommand(), p.recordCommand(),
		p.inputCommand(), p.keyCommand(), p.urlCommand(), p.apiKeyCommand(), p.sessionCommand(), p.benchCommand(), p.configCommand(), p.versionCommand())
	for _, c := range root.Commands() {
		asUsage(c)
	}
	asUsage(root)
	return root
}

// asUsage makes a wrong number of arguments a usage error, for c and below.
func asUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		asUsage(sub)
	}
}

func (p process) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(cmd.OutOrStdout(), versionText())
			return nil
		},
	}
}

// versionText returns the version, with the commit of a build from a checkout.
func versionText() string {
	text := "broadcastd " + version
	if info, ok := debug.ReadBuildInfo(); ok {
		var commit, changed string
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				commit = " " + s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = "+changes"
			}
		}
		if commit != "" {
			text += commit + changed
		}
	}
	return fmt.Sprintf("%s (%s, %s/%s)", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

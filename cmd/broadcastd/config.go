package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/broadcastd/broadcastd/internal/config"
)

// A configFlags is --config and a flag for every key.
type configFlags struct {
	p    process
	file string
	text map[string]*string // by key name
	set  *pflag.FlagSet
}

func (p process) configFlags(cmd *cobra.Command) *configFlags {
	return p.someConfigFlags(cmd, func(string) bool { return true })
}

// someConfigFlags is configFlags with a flag for those keys alone that keep wants,
// by name.
func (p process) someConfigFlags(cmd *cobra.Command, keep func(name string) bool) *configFlags {
	f := &configFlags{p: p, text: make(map[string]*string), set: cmd.Flags()}
	f.set.StringVar(&f.file, "config", "", "config `FILE`; otherwise "+strings.Join(config.Search(), " or ")+", if there is one")
	// --state_dir is --state-dir: the key's own name works too.
	f.set.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ReplaceAll(name, "_", "-"))
	})
	for _, k := range config.Keys(p.stateDir()) {
		if !keep(k.Name) {
			continue
		}
		help := k.Help
		switch {
		case k.Secret:
			help += "; other users see a flag, so " + k.Env() + "_FILE is better"
		case k.Later:
			help += " (nothing stands behind it yet)"
		}
		f.text[k.Name] = f.set.String(k.Flag(), k.Default, help)
		if flag := f.set.Lookup(k.Flag()); k.Bool {
			flag.NoOptDefVal = "true"
			flag.Value = boolText{flag.Value}
		}
	}
	return f
}

// boolText makes a text flag look like one that needs no value.
type boolText struct{ pflag.Value }

func (boolText) Type() string     { return "bool" }
func (boolText) IsBoolFlag() bool { return true }

// load reads the settings.
func (f *configFlags) load() (*config.Loaded, error) {
	given := make(map[string]string)
	for name, text := range f.text {
		if f.set.Changed(strings.ReplaceAll(name, "_", "-")) {
			given[name] = *text
		}
	}
	l, err := config.Load(config.Sources{
		File: f.file, Search: config.Search(), Env: f.p.env, Flags: given, StateDir: f.p.stateDir(),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return l, nil
}

// getenv returns a variable of the process's environment.
func (p process) getenv(name string) string {
	for _, kv := range p.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// stateDir is the default of state_dir (XDG base directory specification).
func (p process) stateDir() string {
	base := p.getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home := p.getenv("HOME")
		if home == "" {
			return filepath.Join(os.TempDir(), "broadcastd")
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "broadcastd")
}

func (p process) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check or print the settings",
		Long: `Settings come from a YAML file, from BROADCASTD_… variables and from flags, each
stronger than the one before. http.listen in the file is BROADCASTD_HTTP__LISTEN
(a double underscore nests) and --http.listen.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the settings, with its line",
		Example: `  broadcastd config check
  broadcastd config check --config /etc/broadcastd/broadcastd.yaml`,
		Args: cobra.NoArgs,
	}
	checked := p.configFlags(check)
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := checked.load()
		if err != nil {
			return err
		}
		for _, w := range l.Warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
		}
		from := "no config file"
		if l.File != "" {
			from = l.File
		}
		fmt.Fprintf(cmd.OutOrStdout(), "The settings are good (%s).\n", from)
		return nil
	}
	show := &cobra.Command{
		Use:   "print",
		Short: "Print every setting as YAML, with where it comes from; secrets are masked",
		Args:  cobra.NoArgs,
	}
	shown := p.configFlags(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := shown.load()
		if err != nil {
			return err
		}
		text, err := l.YAML()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	c.AddCommand(check, show)
	return c
}

// newLog makes the log that the settings ask for. JSON is meant for machines,
// text for a terminal.
func (p process) newLog(c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	opt := &slog.HandlerOptions{Level: level, ReplaceAttr: plain}
	if c.Format == "json" || c.Format == "auto" && !terminal(p.err) {
		return slog.New(newCalmLog(slog.NewJSONHandler(p.err, opt)))
	}
	return slog.New(newCalmLog(slog.NewTextHandler(p.err, opt)))
}

// terminal reports whether w is one.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/config"
)

const serverHelp = `It speaks to the server that --server or BROADCASTD_SERVER names, with the API key
in BROADCASTD_API_KEY or in the file that BROADCASTD_API_KEY_FILE names. Without a
server it takes the state directory of this machine (--state-dir): the daemon that
runs there, or the state itself when none does.`

// The apiFlags are what the commands on the API have in common.
type apiFlags struct {
	*configFlags
	server   string
	org      string
	json     bool
	insecure bool
	pins     []string
}

// apiFlags adds the flags to a command.
func (p process) apiFlags(c *cobra.Command) *apiFlags {
	return p.addAPIFlags(c, p.someConfigFlags(c, func(key string) bool { return key == "state_dir" }))
}

// oldFlags is apiFlags for the commands that have always taken every setting of a
// server, which their help leaves out.
func (p process) oldFlags(c *cobra.Command) *apiFlags {
	f := p.configFlags(c)
	c.Flags().VisitAll(func(flag *pflag.Flag) { flag.Hidden = flag.Name != "config" && flag.Name != "state-dir" })
	return p.addAPIFlags(c, f)
}

func (p process) addAPIFlags(c *cobra.Command, config *configFlags) *apiFlags {
	f := &apiFlags{configFlags: config}
	c.Flags().StringVar(&f.server, "server", "", "`URL` of the server, such as https://live.example:4443")
	c.Flags().StringSliceVar(&f.pins, "cert-sha256", nil, "accept the server's certificate with this SHA-256, in `HEX`; may be repeated")
	c.Flags().BoolVar(&f.insecure, "insecure", false, "accept any certificate of the server")
	c.Flags().StringVar(&f.org, "org", "", "the organisation; otherwise local")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	if c.Long == "" {
		c.Long = c.Short + "."
	}
	c.Long += "\n\n" + serverHelp + "\n\n" + exitHelp
	return f
}

// secret returns what an environment variable holds, or the file that its
// sibling with _FILE names. Other users do not see either.
func (p process) secret(name string) (string, error) {
	if text := p.getenv(name); text != "" {
		return text, nil
	}
	file := p.getenv(name + "_FILE")
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usageError{fmt.Errorf("%s_FILE: %w", name, err)}
	}
	return strings.TrimSpace(string(text)), nil
}

// An apiSession is the API, and what it was opened with; done lets go of that.
type apiSession struct {
	*client.Client
	cfg  config.Config
	done func() error
}

// open finds the API that the flags mean.
func (f *apiFlags) open(ctx context.Context) (*apiSession, error) {
	key, err := f.p.secret("BROADCASTD_API_KEY")
	if err != nil {
		return nil, err
	}
	l, err := f.load()
	if err != nil {
		return nil, err
	}
	cfg := client.Config{URL: f.server, Key: key, Org: f.org, UserAgent: "broadcastd/" + version}
	if cfg.URL == "" {
		cfg.URL = f.p.getenv("BROADCASTD_SERVER")
	}
	if cfg.URL == "" {
		return f.p.localAPI(ctx, l.Config, cfg)
	}
	cfg.Insecure = f.insecure
	if cfg.CertSHA256, err = certPins(f.pins); err != nil {
		return nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, usageError{fmt.Errorf("--server: %w", err)}
	}
	return &apiSession{Client: c, cfg: l.Config, done: func() error { return nil }}, nil
}

// run opens the API, runs do and lets go.
func (f *apiFlags) run(cmd *cobra.Command, do func(context.Context, *apiSession) error) error {
	ctx := cmd.Context()
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	err = do(ctx, s)
	if done := s.done(); err == nil {
		err = done
	}
	if e, ok := errors.AsType[*client.Error](err); ok && e.Detail != "" {
		err = said{e}
	}
	if errors.Is(err, client.ErrUnauthorized) {
		err = fmt.Errorf("%w; give an API key in BROADCASTD_API_KEY or BROADCASTD_API_KEY_FILE", err)
	}
	return hint(err)
}

// said is what the server said, without the call that it answered.
type said struct{ err *client.Error }

func (s said) Error() string { return s.err.Detail }
func (s said) Unwrap() error { return s.err }

// print prints v as JSON, or has people print it.
func (f *apiFlags) print(v any, people func(w io.Writer)) error {
	if !f.json {
		people(f.p.out)
		return nil
	}
	enc := json.NewEncoder(f.p.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under a heading, in columns.
func table(w io.Writer, heading string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, r := range rows {
		for i, cell := range r {
			r[i] = cmp.Or(cell, "-")
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush() //nolint:errcheck // a terminal that is gone wants nothing
}

// card prints names and values, those without a value left out.
func card(w io.Writer, pairs ...[2]string) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", p[0], p[1])
		}
	}
	t.Flush() //nolint:errcheck // a terminal that is gone wants nothing
}

// stamp returns a time as the tables show it; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// listed collects a whole list.
func listed[T any](ctx context.Context, get func(context.Context, client.Page) (client.List[T], error), limit int) ([]T, error) {
	items := []T{} // [] in JSON, also when there are none
	for item, err := range client.All(ctx, get, client.Page{Limit: 500}) {
		if err != nil {
			return nil, err
		}
		if items = append(items, item); limit > 0 && len(items) == limit {
			break
		}
	}
	return items, nil
}

// helpOnly makes a command that only has others below it.
func helpOnly(use, short, long string, below ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(below...)
	return c
}

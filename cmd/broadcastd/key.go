package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const keyHelp = `Keys are files in the state directory. A running "broadcastd serve" with the same
state directory takes a change within a second.`

func (p process) keyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make, list and revoke signing keys and stream keys",
		Long: `A signing key signs the URLs that viewers play; a stream key lets one encoder
publish one stream.

` + keyHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(p.keyCreateCommand(), p.keyListCommand(), p.keyRevokeCommand())
	return c
}

// keyring opens the keys of the state directory that the settings name.
func (f *configFlags) keyring() (*auth.Keyring, config.Config, error) {
	l, err := f.load()
	if err != nil {
		return nil, config.Config{}, err
	}
	if err := openState(l.Config.StateDir); err != nil {
		return nil, config.Config{}, err
	}
	ring, err := auth.OpenKeyring(auth.KeyringConfig{Dir: keyDir(l.Config)})
	return ring, l.Config, err
}

// keyDir is where the keys are.
func keyDir(c config.Config) string { return filepath.Join(c.StateDir, "keys") }

func (p process) keyCreateCommand() *cobra.Command {
	var alg, stream string
	c := &cobra.Command{
		Use:   "create [--alg Ed25519|RS256] | create --stream stream/local/NAME",
		Short: "Make a signing key, or a stream key, which is shown this once",
		Long: `Makes a signing key and prints its id. With --stream it makes a stream key
instead and prints that: it is not kept, so this is the one time to copy it.

` + keyHelp,
		Example: `  broadcastd key create
  broadcastd key create --stream stream/local/cam`,
		Args: cobra.NoArgs,
	}
	flags := p.configFlags(c)
	c.Flags().StringVar(&alg, "alg", string(auth.Ed25519), "how the key signs: Ed25519 or RS256")
	c.Flags().StringVar(&stream, "stream", "", "make a stream key for this `NAMESPACE`, such as stream/local/cam")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if a := auth.Algorithm(alg); a != auth.Ed25519 && a != auth.RS256 {
			return usageError{fmt.Errorf("--alg %q: there are %s and %s", alg, auth.Ed25519, auth.RS256)}
		}
		if stream != "" {
			if cmd.Flags().Changed("alg") {
				return usageError{errors.New("--alg is for signing keys, not for stream keys")}
			}
			if err := checkStream(stream); err != nil {
				return usageError{fmt.Errorf("--stream %q: %w", stream, err)}
			}
		}
		ring, _, err := flags.keyring()
		if err != nil {
			return err
		}
		if stream != "" {
			cleartext, _, err := ring.CreateStream(stream)
			if err == nil {
				fmt.Fprintln(p.out, cleartext)
			}
			return err
		}
		key, err := ring.Create(auth.Algorithm(alg))
		if err == nil {
			fmt.Fprintln(p.out, key.ID)
		}
		return err
	}
	return c
}

// checkStream checks the namespace of a stream that a key or a URL is for.
func checkStream(namespace string) error {
	ns, err := track.SplitNamespace(namespace)
	if err != nil {
		return err
	}
	if _, err := auth.AdHoc(ns.Fields()); err != nil {
		return errors.New("the form is stream/local/NAME, NAME of letters, digits and - . _ ~")
	}
	return nil
}

func (p process) keyListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys",
		Args:  cobra.NoArgs,
	}
	flags := p.configFlags(c)
	c.RunE = func(*cobra.Command, []string) error {
		ring, _, err := flags.keyring()
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(p.out, 0, 0, 3, ' ', 0)
		fmt.Fprintln(t, "KEY\tKIND\tFOR\tCREATED\tSTATUS")
		for _, k := range ring.List() {
			purpose, status := string(k.Algorithm), "active"
			if k.Kind == auth.StreamKey {
				purpose = k.Stream
			}
			if !k.Active() {
				status = "revoked " + k.Revoked.Format(time.RFC3339)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Kind, purpose, k.Created.Format(time.RFC3339), status)
		}
		return t.Flush()
	}
	return c
}

func (p process) keyRevokeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "revoke KEY",
		Short: "Make a key count no longer, and end what it has let in",
		Long: `Revokes a signing key or a stream key by the id that "key list" shows. Sessions
that came in with it, or with a token that it signed, are closed.

` + keyHelp,
		Args: cobra.ExactArgs(1),
	}
	flags := p.configFlags(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		ring, _, err := flags.keyring()
		if err != nil {
			return err
		}
		if err := ring.Revoke(args[0]); err != nil {
			return err
		}
		fmt.Fprintln(p.out, "revoked", args[0])
		return nil
	}
	return c
}

func (p process) urlCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "url",
		Short: "Sign URLs that viewers play",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(p.urlSignCommand())
	return c
}

// maxTTL bounds how long a signed URL may be good for.
const maxTTL = 30 * 24 * time.Hour

func (p process) urlSignCommand() *cobra.Command {
	var namespace, relay, kid string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "sign --namespace stream/local/NAME [--relay URL] [--ttl 1h]",
		Short: "Print a URL that plays a stream until it expires",
		Long: `Prints a URL, and nothing else, with a token for one stream. "broadcastd view" and
"record" take it as their argument. The newest signing key signs; where there is
none yet, one is made.`,
		Example: `  broadcastd url sign --namespace stream/local/cam --ttl 10m
  broadcastd record "$(broadcastd url sign --namespace stream/local/cam)" --insecure --output cam.mp4`,
		Args: cobra.NoArgs,
	}
	flags := p.configFlags(c)
	c.Flags().StringVar(&namespace, "namespace", "", "the stream, such as stream/local/cam")
	c.Flags().StringVar(&relay, "relay", "", "`URL` that viewers reach the relay at; otherwise moq.public, or this machine")
	c.Flags().StringVar(&kid, "key", "", "the id of the signing `KEY` to use")
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the URL is good for")
	c.RunE = func(*cobra.Command, []string) error {
		if err := checkStream(namespace); err != nil {
			return usageError{fmt.Errorf("--namespace %q: %w", namespace, err)}
		}
		if ttl <= 0 || ttl > maxTTL {
			return usageError{fmt.Errorf("--ttl %v: more than 0 and at most %v", ttl, maxTTL)}
		}
		ring, cfg, err := flags.keyring()
		if err != nil {
			return err
		}
		base, err := playbackBase(relay, cfg)
		if err != nil {
			return usageError{err}
		}
		token, err := p.sign(ring, namespace, kid, ttl)
		if err != nil {
			return err
		}
		base.Path = "/playback/" + namespace[strings.LastIndexByte(namespace, '/')+1:]
		base.RawQuery = url.Values{"tok": {token}}.Encode()
		fmt.Fprintln(p.out, base)
		return nil
	}
	return c
}

// sign signs a token, with a key made on the spot if there is none at all.
func (p process) sign(ring *auth.Keyring, namespace, kid string, ttl time.Duration) (string, error) {
	token, _, err := ring.Sign(namespace, kid, ttl)
	if !errors.Is(err, auth.ErrNoKey) || kid != "" {
		return token, err
	}
	key, err := ring.Create(auth.Ed25519)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(p.err, "made signing key %s\n", key.ID)
	token, _, err = ring.Sign(namespace, key.ID, ttl)
	return token, err
}

// playbackBase returns where viewers reach the relay.
func playbackBase(relay string, cfg config.Config) (*url.URL, error) {
	if relay == "" {
		relay = cfg.MoQ.Public
	}
	if relay == "" {
		_, port, ok := cutLast(cfg.MoQ.Listen, ':')
		if !ok {
			return nil, errors.New("--relay is missing: moq.listen names no port")
		}
		relay = "moqt://localhost:" + port
	}
	u, err := url.Parse(relay)
	if err != nil || u.Host == "" || u.Scheme != "moqt" && u.Scheme != "moq" && u.Scheme != "https" {
		return nil, errors.New("--relay is no URL of the form moqt://host:port or https://host:port")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// streamKey returns the stream key of a flag, or of the environment, where
// other users do not see it.
func (p process) streamKey(flag string) string {
	if flag != "" {
		return flag
	}
	if text := p.getenv("BROADCASTD_STREAM_KEY"); text != "" {
		return text
	}
	file := p.getenv("BROADCASTD_STREAM_KEY_FILE")
	text, err := os.ReadFile(file)
	if file == "" || errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return strings.TrimSpace(string(text))
}

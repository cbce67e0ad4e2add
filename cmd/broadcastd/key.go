package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/moqt/track"
)

func (p process) keyCommand() *cobra.Command {
	return helpOnly("key", "Make, list and revoke signing keys and stream keys",
		`A signing key signs the URLs that viewers play; a stream key lets one encoder
publish one stream that is no live input's. Live inputs have stream keys of their
own: see "broadcastd input".`,
		p.keyCreateCommand(), p.keyListCommand(), p.keyRevokeCommand())
}

func (p process) keyCreateCommand() *cobra.Command {
	var alg, stream string
	c := &cobra.Command{
		Use:   "create [--alg Ed25519|RS256] | create --stream stream/local/NAME",
		Short: "Make a signing key, or a stream key, which is shown this once",
		Long: `Makes a signing key and prints its id. With --stream it makes a stream key
instead and prints that: it is not kept, so this is the one time to copy it.`,
		Example: `  broadcastd key create
  broadcastd key create --stream stream/local/cam`,
		Args: cobra.NoArgs,
	}
	flags := p.oldFlags(c)
	c.Flags().StringVar(&alg, "alg", string(auth.Ed25519), "how the key signs: Ed25519 or RS256")
	c.Flags().StringVar(&stream, "stream", "", "make a stream key for this `NAMESPACE`, such as stream/local/cam")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if a := auth.Algorithm(alg); a != auth.Ed25519 && a != auth.RS256 {
			return usageError{fmt.Errorf("--alg %q: there are %s and %s", alg, auth.Ed25519, auth.RS256)}
		}
		if stream == "" {
			return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
				key, err := s.SigningKeys.Create(ctx, client.NewSigningKey{Alg: alg})
				if err != nil {
					return err
				}
				return flags.print(key, func(w io.Writer) { fmt.Fprintln(w, key.ID) })
			})
		}
		if cmd.Flags().Changed("alg") {
			return usageError{errors.New("--alg is for signing keys, not for stream keys")}
		}
		if err := checkStream(stream); err != nil {
			return usageError{fmt.Errorf("--stream %q: %w", stream, err)}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			key, err := s.StreamKeys.Create(ctx, stream)
			if err != nil {
				return err
			}
			return flags.print(key, func(w io.Writer) { fmt.Fprintln(w, key.Key) })
		})
	}
	return c
}

// checkStream checks the namespace of a stream that a key or a URL is for.
func checkStream(namespace string) error {
	ns, err := track.SplitNamespace(namespace)
	if err != nil {
		return err
	}
	if f := ns.Fields(); len(f) != 3 || f[0] != "stream" {
		return errors.New("the form is stream/local/NAME, NAME of letters, digits and - . _ ~")
	}
	return nil
}

// A keyRow is a key of either kind.
type keyRow struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // "signing" or "stream"
	For     string    `json:"for"`  // the algorithm, or the namespace
	Created time.Time `json:"createdAt"`
	Active  bool      `json:"active"`
	Revoked time.Time `json:"revokedAt,omitzero"`
}

func (p process) keyListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys",
		Args:  cobra.NoArgs,
	}
	flags := p.oldFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			keys, err := allKeys(ctx, s)
			if err != nil {
				return err
			}
			return flags.print(keys, func(w io.Writer) {
				var rows [][]string
				for _, k := range keys {
					status := "active"
					if !k.Active {
						status = strings.TrimSpace("revoked " + stamp(k.Revoked))
					}
					rows = append(rows, []string{k.ID, k.Kind, k.For, stamp(k.Created), status})
				}
				table(w, "KEY KIND FOR CREATED STATUS", rows)
			})
		})
	}
	return c
}

// allKeys returns the keys of both kinds, the oldest first.
func allKeys(ctx context.Context, s *apiSession) ([]keyRow, error) {
	signing, err := listed(ctx, s.SigningKeys.List, 0)
	if err != nil {
		return nil, err
	}
	stream, err := listed(ctx, s.StreamKeys.List, 0)
	if err != nil {
		return nil, err
	}
	keys := []keyRow{}
	for _, k := range signing {
		keys = append(keys, keyRow{ID: k.ID, Kind: "signing", For: k.Alg, Created: k.CreatedAt, Active: k.Status == "active"})
	}
	for _, k := range stream {
		keys = append(keys, keyRow{ID: k.ID, Kind: "stream", For: k.Namespace, Created: k.CreatedAt, Active: k.RevokedAt.IsZero(), Revoked: k.RevokedAt})
	}
	slices.SortStableFunc(keys, func(a, b keyRow) int { return a.Created.Compare(b.Created) })
	return keys, nil
}

func (p process) keyRevokeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "revoke KEY",
		Short: "Make a key count no longer, and end what it has let in",
		Long: `Revokes a signing key or a stream key by the id that "key list" shows. Sessions
that came in with it, or with a token that it signed, are closed.`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.oldFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			_, err := s.SigningKeys.Deactivate(ctx, args[0])
			if errors.Is(err, client.ErrNotFound) {
				err = s.StreamKeys.Revoke(ctx, args[0])
			}
			if errors.Is(err, client.ErrNotFound) {
				return fmt.Errorf("there is no key %q: \"broadcastd key list\" shows them", args[0])
			} else if err != nil {
				return err
			}
			return flags.done("revoked", args[0])
		})
	}
	return c
}

func (p process) urlCommand() *cobra.Command {
	return helpOnly("url", "Sign URLs that viewers play, and take them back", "", p.urlSignCommand(), p.urlRevokeCommand())
}

func (p process) urlSignCommand() *cobra.Command {
	var namespace, input, relay string
	var o client.PlaybackOptions
	c := &cobra.Command{
		Use:   "sign --input ID | sign --namespace stream/local/NAME [--relay URL] [--ttl 1h]",
		Short: "Print a URL that plays a stream until it expires",
		Long: `Prints a URL, and nothing else, with a token for one stream: a live input's, or an
ad-hoc one. "broadcastd view" and "record" take it as their argument. The newest
signing key signs. How long it may be good for: 30 s to 24 h for a live input, 1 s
to 30 days for a namespace.`,
		Example: `  broadcastd url sign --input lv_… --ttl 10m
  broadcastd record "$(broadcastd url sign --namespace stream/local/cam)" --insecure --output cam.mp4`,
		Args: cobra.NoArgs,
	}
	flags := p.oldFlags(c)
	c.Flags().StringVar(&namespace, "namespace", "", "the stream, such as stream/local/cam")
	c.Flags().StringVar(&input, "input", "", "the live input, by either `ID`")
	c.Flags().StringVar(&relay, "relay", "", "`URL` that viewers reach the relay at; otherwise moq.public, or the server")
	c.Flags().StringVar(&o.KeyID, "key", "", "the id of the signing `KEY` to use")
	c.Flags().DurationVar(&o.TTL, "ttl", time.Hour, "how long the URL is good for")
	c.Flags().StringVar(&o.Viewer, "viewer", "", "who watches, for watermarks and statistics")
	c.Flags().IntVar(&o.MaxHeight, "max-height", 0, "the highest picture, in pixels")
	c.Flags().StringVar(&o.IP, "ip", "", "the one `ADDRESS` that may use the URL")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if (namespace == "") == (input == "") {
			return usageError{errors.New("give --input or --namespace, for example --namespace stream/local/cam")}
		}
		if err := checkStream(namespace); namespace != "" && err != nil {
			return usageError{fmt.Errorf("--namespace %q: %w", namespace, err)}
		}
		if o.TTL <= 0 || o.TTL > auth.MaxTokenLife {
			return usageError{fmt.Errorf("--ttl %v: more than 0 and at most %v", o.TTL, auth.MaxTokenLife)}
		}
		if relay != "" {
			if _, err := relayBase(relay); err != nil {
				return usageError{err}
			}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			sign := func() (client.PlaybackURL, error) { return s.Broadcasts.PlaybackURL(ctx, namespace, o) }
			if input != "" {
				sign = func() (client.PlaybackURL, error) { return s.LiveInputs.PlaybackURL(ctx, input, o) }
			}
			u, err := sign()
			if err != nil {
				return err
			}
			if u.URL, err = playbackURL(u, relay, s); err != nil {
				return err
			}
			return flags.print(u, func(w io.Writer) { fmt.Fprintln(w, u.URL) })
		})
	}
	return c
}

// playbackURL returns the URL that a token is for, at the relay that is asked
// for, or else where the server says, or the settings.
func playbackURL(u client.PlaybackURL, relay string, s *apiSession) (string, error) {
	if relay == "" && u.URL != "" {
		return strings.Replace(u.URL, "moq://", "moqt://", 1), nil
	}
	base, err := playbackBase(relay, s.cfg)
	if err != nil {
		return "", usageError{err}
	}
	base.Path = "/playback/" + u.Namespace[strings.LastIndexByte(u.Namespace, '/')+1:]
	base.RawQuery = url.Values{"tok": {u.Token}}.Encode()
	return base.String(), nil
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
	return relayBase(relay)
}

// relayBase checks the URL of a relay, and leaves the rest of it out.
func relayBase(relay string) (*url.URL, error) {
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

// streamKey returns the stream key of a flag, or of the environment, where other
// users do not see it.
func (p process) streamKey(flag string) string {
	if flag != "" {
		return flag
	}
	key, err := p.secret("BROADCASTD_STREAM_KEY")
	if err != nil {
		return ""
	}
	return key
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/client"
)

func (p process) apiKeyCommand() *cobra.Command {
	return helpOnly("api-key", "Make, list and revoke the keys of programs that use the API",
		`An API key lets a program use the API, /api/v1, within its scopes and organisations.
It goes into "Authorization: Bearer KEY", and for these commands into
BROADCASTD_API_KEY. The server's admin key may do everything.

Scopes: streams, sessions, keys and metrics, each with :read, :write or :*, and *.`,
		p.apiKeyCreateCommand(), p.apiKeyListCommand(), p.apiKeyRevokeCommand())
}

func (p process) apiKeyCreateCommand() *cobra.Command {
	var scopes []string
	var expires time.Duration
	c := &cobra.Command{
		Use:   "create NAME [--scope streams:*]",
		Short: "Make an API key and print it, this once",
		Long:  "Makes an API key and prints it: it is not kept, so this is the one time to copy it.",
		Example: `  broadcastd api-key create ci
  broadcastd api-key create dashboard --scope streams:read --scope metrics:read --expires 720h`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.Flags().StringSliceVar(&scopes, "scope", []string{"streams:*"}, "what it may do; may be repeated")
	c.Flags().DurationVar(&expires, "expires", 0, "how long it counts; 0: until it is revoked")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		in := client.NewAPIKey{Name: args[0], Scopes: scopes}
		if expires < 0 {
			return usageError{errors.New("--expires cannot be negative")}
		} else if expires > 0 {
			in.ExpiresAt = time.Now().Add(expires).UTC().Truncate(time.Second)
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			key, err := s.APIKeys.Create(ctx, in)
			if err != nil {
				return err
			}
			return flags.print(key, func(w io.Writer) {
				fmt.Fprintln(w, key.Key)
				fmt.Fprintf(p.err, "made API key %s; it is shown this once\n", key.ID)
			})
		})
	}
	return c
}

func (p process) apiKeyListCommand() *cobra.Command {
	c := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List the API keys", Args: cobra.NoArgs}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			keys, err := listed(ctx, s.APIKeys.List, 0)
			if err != nil {
				return err
			}
			return flags.print(keys, func(w io.Writer) {
				var rows [][]string
				for _, k := range keys {
					rows = append(rows, []string{
						k.ID, strings.Join(k.Orgs, ","), strings.Join(k.Scopes, ","), stamp(k.CreatedAt), apiKeyStatus(k), k.Name,
					})
				}
				table(w, "API-KEY ORGS SCOPES CREATED STATUS NAME", rows)
			})
		})
	}
	return c
}

func apiKeyStatus(k client.APIKey) string {
	switch {
	case !k.RevokedAt.IsZero():
		return "revoked " + stamp(k.RevokedAt)
	case k.ExpiresAt.IsZero():
		return "active"
	case time.Now().After(k.ExpiresAt):
		return "expired " + stamp(k.ExpiresAt)
	}
	return "until " + stamp(k.ExpiresAt)
}

func (p process) apiKeyRevokeCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "revoke API-KEY-ID", Short: "Make an API key count no longer", Args: cobra.ExactArgs(1),
		Long: `Revokes an API key by the id that "api-key list" shows.`,
	}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			if err := s.APIKeys.Revoke(ctx, args[0]); err != nil {
				return err
			}
			return flags.done("revoked", args[0])
		})
	}
	return c
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/client"
)

func (p process) urlRevokeCommand() *cobra.Command {
	var id string
	c := &cobra.Command{
		Use:   "revoke URL | revoke TOKEN | revoke --id ID",
		Short: "Take a signed URL back, and close who watches with it",
		Long: `Takes a URL that "url sign" has printed back before it expires. Other URLs stay
good, also those of the same key. --id takes the "id" that "url sign --json" shows,
where the URL itself is not at hand. Instead of an argument, - reads it from the
standard input, where other users of this machine do not see it.`,
		Args: cobra.MaximumNArgs(1),
	}
	flags := p.apiFlags(c)
	c.Flags().StringVar(&id, "id", "", "the `ID` of the token")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if (id == "") == (len(args) == 0) {
			return usageError{errors.New("give a signed URL, its token or --id")}
		}
		ref := client.TokenRef{ID: id}
		if id == "" {
			token, err := tokenOf(args[0], cmd.InOrStdin())
			if err != nil {
				return usageError{err}
			}
			ref = client.TokenRef{Token: token}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			r, err := s.Broadcasts.RevokeToken(ctx, ref)
			if err != nil {
				return err
			}
			return flags.print(r, func(w io.Writer) { fmt.Fprintln(w, "revoked", r.ID) })
		})
	}
	return c
}

// tokenOf returns the token of an argument: a URL with tok, the token itself, or
// - for either on in. No error quotes it.
func tokenOf(arg string, in io.Reader) (string, error) {
	if arg == "-" {
		text, err := io.ReadAll(io.LimitReader(in, 16<<10))
		if err != nil {
			return "", fmt.Errorf("standard input: %w", err)
		}
		arg = strings.TrimSpace(string(text))
	}
	if !strings.Contains(arg, "://") {
		return arg, nil
	}
	u, err := url.Parse(arg)
	if err != nil {
		return "", errors.New("that is no URL")
	}
	token := u.Query().Get("tok")
	if token == "" {
		return "", errors.New("the URL has no token (tok)")
	}
	return token, nil
}

func (p process) sessionDisconnectCommand() *cobra.Command {
	var who client.ViewerFilter
	var reason string
	c := &cobra.Command{
		Use:   "disconnect SESSION [--viewer NAME] [--token-id ID] [--remote ADDRESS] [--reason TEXT]",
		Short: "Close viewers of a session who came with a signed URL",
		Long: `Closes the viewers that all the flags fit, or all that came with a signed URL. They
may come back with it: "url revoke" takes it back.`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.Flags().StringVar(&who.Viewer, "viewer", "", "those whose URL was signed for this viewer")
	c.Flags().StringVar(&who.TokenID, "token-id", "", "those of the token with this `ID`")
	c.Flags().StringVar(&who.Remote, "remote", "", "those from this `ADDRESS` or prefix")
	c.Flags().StringVar(&reason, "reason", "", "what they are told")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			n, err := s.Sessions.Disconnect(ctx, args[0], who, reason)
			if err != nil {
				return err
			}
			return flags.print(map[string]int{"closed": n}, func(w io.Writer) { fmt.Fprintln(w, "closed", n) })
		})
	}
	return c
}

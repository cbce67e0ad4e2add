package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/broadcastd/broadcastd/client"
)

func (p process) inputCommand() *cobra.Command {
	return helpOnly("input", "Make and manage live inputs, the places that encoders publish to",
		`A live input is a place to publish to, with a stream key of its own. It has two ids:
li_… names it for the API, lv_… is what URLs to publish to and to play end with.
Every command takes either.

Make one, publish to it and play it:

  broadcastd input create "Studio 1"
  ffmpeg … -method POST -send_expect_100 1 "http://localhost:8080/ingest/lv_…?sk=sk_live_…"
  broadcastd url sign --input lv_…`,
		p.inputCreateCommand(), p.inputListCommand(), p.inputGetCommand(), p.inputUpdateCommand(),
		p.inputDeleteCommand(), p.inputRotateKeyCommand(), p.inputPassphraseCommand())
}

// inputSettings are the flags for the settings of an input.
type inputSettings struct {
	client.InputSettings
	group, startover time.Duration
	set              *pflag.FlagSet
}

func addInputSettings(c *cobra.Command) *inputSettings {
	s := &inputSettings{set: c.Flags()}
	s.set.BoolVar(&s.AnyIngest, "any-ingest", false, "let encoders come by other protocols too")
	s.set.StringSliceVar(&s.AllowFrom, "allow-from", nil, "`ADDRESS` or prefix that may publish, such as 192.0.2.0/24; may be repeated")
	s.set.StringVar(&s.Takeover, "takeover", "", "what a second encoder does to the first: replace or refuse")
	s.set.Int64Var(&s.MaxBitrate, "max-bitrate", 0, "the most that may come in, in bits per second")
	s.set.IntVar(&s.MaxTracks, "max-tracks", 0, "the most tracks")
	s.set.DurationVar(&s.group, "group-duration", 0, "least length of a group, such as 2s")
	s.set.BoolVar(&s.RequireEncryption, "require-encryption", false, "refuse encoders that send in the clear")
	s.set.BoolVar(&s.Record, "record", false, "keep what comes in (nothing acts on it yet)")
	s.set.DurationVar(&s.startover, "startover-window", 0, "how far back viewers may go (nothing acts on it yet)")
	s.set.StringVar(&s.Backup, "backup", "", "external `id` of the live input that goes out while the encoder brings nothing")
	s.set.StringVar(&s.Pull, "pull", "", "`URL` of HLS to pull from")
	return s
}

// all returns the settings of an input to make; nil if none is given.
func (s *inputSettings) all() *client.InputSettings {
	out := s.InputSettings
	out.GroupDurationMs, out.StartoverWindowSeconds = int(s.group.Milliseconds()), int(s.startover.Seconds())
	if patch := s.patch(); *patch == (client.InputSettingsPatch{}) {
		return nil
	}
	return &out
}

// patch returns the settings that were given.
func (s *inputSettings) patch() *client.InputSettingsPatch {
	group, startover := int(s.group.Milliseconds()), int(s.startover.Seconds())
	out := &client.InputSettingsPatch{}
	given(s.set, "any-ingest", &out.AnyIngest, &s.AnyIngest)
	given(s.set, "allow-from", &out.AllowFrom, &s.AllowFrom)
	given(s.set, "takeover", &out.Takeover, &s.Takeover)
	given(s.set, "max-bitrate", &out.MaxBitrate, &s.MaxBitrate)
	given(s.set, "max-tracks", &out.MaxTracks, &s.MaxTracks)
	given(s.set, "group-duration", &out.GroupDurationMs, &group)
	given(s.set, "require-encryption", &out.RequireEncryption, &s.RequireEncryption)
	given(s.set, "record", &out.Record, &s.Record)
	given(s.set, "startover-window", &out.StartoverWindowSeconds, &startover)
	given(s.set, "backup", &out.Backup, &s.Backup)
	given(s.set, "pull", &out.Pull, &s.Pull)
	return out
}

// given sets to if the flag is there.
func given[T any](set *pflag.FlagSet, name string, to **T, value *T) {
	if set.Changed(name) {
		*to = value
	}
}

func (p process) inputCreateCommand() *cobra.Command {
	var ingest string
	c := &cobra.Command{
		Use:   "create NAME [--ingest fmp4|whip|rtmp|srt]",
		Short: "Make a live input and show its stream key, this once",
		Example: `  broadcastd input create "Studio 1"
  broadcastd input create door --ingest rtmp --takeover refuse
  broadcastd input create studio --json | jq -r .streamKey`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&ingest, "ingest", string(client.FMP4), "the protocol that it takes: fmp4 (CMAF push and MoQ), whip, rtmp, srt or hls")
	settings := addInputSettings(c)
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			made, err := s.LiveInputs.Create(ctx, client.NewLiveInput{Name: args[0], Ingest: client.IngestKind(ingest), Settings: settings.all()})
			if err != nil {
				return err
			}
			return flags.print(made, func(w io.Writer) {
				printInput(w, made.LiveInput, made.StreamKey)
				fmt.Fprintln(p.err, "The stream key is shown this once; \"broadcastd input rotate-key\" makes another.")
			})
		})
	}
	return c
}

// printInput prints an input for people.
func printInput(w io.Writer, in client.LiveInput, streamKey string) {
	pairs := [][2]string{
		{"id", in.ID},
		{"external id", in.ExternalID},
		{"name", in.Name},
		{"organisation", in.Org},
		{"ingest", string(in.Ingest)},
		{"status", string(in.Status)},
		{"namespace", in.Namespace},
		{"created", stamp(in.CreatedAt)},
	}
	pairs = append(pairs, settingPairs(in.Settings)...)
	for _, protocol := range slices.Sorted(maps.Keys(in.Publish)) {
		pairs = append(pairs, [2]string{"publish by " + protocol, in.Publish[protocol]})
	}
	card(w, append(pairs, [2]string{"stream key", streamKey})...)
}

// settingPairs are the settings that differ from those that an input is made
// with.
func settingPairs(s client.InputSettings) [][2]string {
	flag := func(b bool) string {
		if b {
			return "yes"
		}
		return ""
	}
	number := func(n int64, unit string) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10) + unit
	}
	return [][2]string{
		{"any ingest", flag(s.AnyIngest)},
		{"allow from", strings.Join(s.AllowFrom, ", ")},
		{"takeover", s.Takeover},
		{"max bitrate", number(s.MaxBitrate, " bit/s")},
		{"max tracks", number(int64(s.MaxTracks), "")},
		{"group duration", number(int64(s.GroupDurationMs), " ms")},
		{"require encryption", flag(s.RequireEncryption)},
		{"record", flag(s.Record)},
		{"startover window", number(int64(s.StartoverWindowSeconds), " s")},
		{"backup", s.Backup},
		{"pull", s.Pull},
	}
}

func (p process) inputListCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the live inputs, the oldest first", Args: cobra.NoArgs,
	}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			inputs, err := listed(ctx, s.LiveInputs.List, 0)
			if err != nil {
				return err
			}
			return flags.print(inputs, func(w io.Writer) {
				var rows [][]string
				for _, in := range inputs {
					rows = append(rows, []string{in.ExternalID, in.ID, string(in.Ingest), string(in.Status), stamp(in.CreatedAt), in.Name})
				}
				table(w, "EXTERNAL-ID ID INGEST STATUS CREATED NAME", rows)
			})
		})
	}
	return c
}

func (p process) inputGetCommand() *cobra.Command {
	c := &cobra.Command{Use: "get ID", Short: "Show a live input", Args: cobra.ExactArgs(1)}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			in, err := s.LiveInputs.Get(ctx, args[0])
			if err != nil {
				return err
			}
			return flags.print(in, func(w io.Writer) { printInput(w, in, "") })
		})
	}
	return c
}

func (p process) inputUpdateCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:   "update ID [--name NAME] [--takeover refuse] …",
		Short: "Change a live input; what is not given stays",
		Example: `  broadcastd input update lv_… --name "Studio 2" --max-bitrate 8000000
  broadcastd input update lv_… --allow-from 192.0.2.0/24,198.51.100.7
  broadcastd input update lv_… --record=false --allow-from ""`,
		Args: cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&name, "name", "", "another name")
	settings := addInputSettings(c)
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		patch := client.LiveInputPatch{Settings: settings.patch()}
		given(c.Flags(), "name", &patch.Name, &name)
		if *patch.Settings == (client.InputSettingsPatch{}) {
			if patch.Settings = nil; patch.Name == nil {
				return usageError{errors.New("nothing is to be changed: give --name or a setting")}
			}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			in, err := s.LiveInputs.Update(ctx, args[0], "", patch)
			if err != nil {
				return err
			}
			return flags.print(in, func(w io.Writer) { printInput(w, in, "") })
		})
	}
	return c
}

func (p process) inputDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "delete ID", Aliases: []string{"rm"}, Short: "Delete a live input, and end what comes in and goes out", Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			if err := s.LiveInputs.Delete(ctx, args[0]); err != nil {
				return err
			}
			return flags.done("deleted", args[0])
		})
	}
	return c
}

// done says what was done to a thing.
func (f *apiFlags) done(what, id string) error {
	return f.print(map[string]string{"id": id, "status": what}, func(w io.Writer) { fmt.Fprintln(w, what, id) })
}

func (p process) inputRotateKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "rotate-key ID",
		Short: "Print another stream key for a live input, this once; the old one ends at once",
		Long: `Gives a live input another stream key and prints it, and nothing else. The old one
counts no longer, and an encoder that publishes with it is closed.`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			in, err := s.LiveInputs.RotateKey(ctx, args[0])
			if err != nil {
				return err
			}
			return flags.print(in, func(w io.Writer) { fmt.Fprintln(w, in.StreamKey) })
		})
	}
	return c
}

func (p process) inputPassphraseCommand() *cobra.Command {
	var own, clear bool
	c := &cobra.Command{
		Use:   "passphrase ID [--stdin|--clear]",
		Short: "Print a new SRT passphrase for a live input; the one before counts until the next",
		Long: `Gives a live input another SRT passphrase and prints it. Encoders may go on with the
one before until the next one is made, so that they can change over. With --stdin
the passphrase is read from standard input, 10 to 79 bytes, and takes the place of
all others; with --clear the input needs none.`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.Flags().BoolVar(&own, "stdin", false, "read the passphrase from standard input")
	c.Flags().BoolVar(&clear, "clear", false, "take the passphrase away")
	c.MarkFlagsMutuallyExclusive("stdin", "clear")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var phrase string
		if own {
			text, err := io.ReadAll(io.LimitReader(p.in, 1024))
			if err != nil {
				return fmt.Errorf("standard input: %w", err)
			}
			if phrase = strings.TrimRight(string(text), "\r\n"); phrase == "" {
				return usageError{errors.New("standard input has no passphrase")}
			}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			if own || clear {
				in, err := s.LiveInputs.SetPassphrase(ctx, args[0], phrase)
				if err != nil {
					return err
				}
				return flags.print(in, func(w io.Writer) { fmt.Fprintln(w, "changed", args[0]) })
			}
			in, err := s.LiveInputs.RotatePassphrase(ctx, args[0])
			if err != nil {
				return err
			}
			return flags.print(in, func(w io.Writer) { fmt.Fprintln(w, in.Passphrase) })
		})
	}
	return c
}

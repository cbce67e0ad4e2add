package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/client"
)

func (p process) sessionCommand() *cobra.Command {
	return helpOnly("session", "See and steer sessions, the runs of inputs",
		`A session is one run of an input, from its encoder's start to its end; an encoder
that comes back at once continues it.`,
		p.sessionListCommand(), p.sessionGetCommand(),
		p.sessionStatusCommand("pause", "Stop sending a session to its viewers; the encoder stays", client.SessionPaused, "paused"),
		p.sessionStatusCommand("resume", "Send a paused session to its viewers again", client.SessionLive, "resumed"),
		p.sessionStatusCommand("end", "End a session and close its encoder", client.SessionEnded, "ended"),
		p.sessionUpdateCommand(), p.sessionDisconnectCommand(), p.sessionDeleteCommand())
}

func (p process) sessionListCommand() *cobra.Command {
	var filter client.SessionFilter
	var status string
	var limit int
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the sessions", Args: cobra.NoArgs,
		Example: `  broadcastd session list --status live
  broadcastd session list --input lv_… --json`,
	}
	flags := p.apiFlags(c)
	c.Flags().StringVar(&filter.Input, "input", "", "those of this input, by its external `ID` or name")
	c.Flags().StringVar(&status, "status", "", "those that are idle, live, paused or ended")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many; 0: all")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		filter.Status = client.SessionStatus(status)
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			sessions, err := listed(ctx, func(ctx context.Context, page client.Page) (client.List[client.Session], error) {
				return s.Sessions.List(ctx, filter, page)
			}, limit)
			if err != nil {
				return err
			}
			return flags.print(sessions, func(w io.Writer) {
				var rows [][]string
				for _, v := range sessions {
					rows = append(rows, []string{v.ID, v.Input, v.Protocol, string(v.Status), strconv.Itoa(v.Viewers), stamp(v.StartedAt), stamp(v.EndedAt)})
				}
				table(w, "SESSION INPUT PROTOCOL STATUS VIEWERS STARTED ENDED", rows)
			})
		})
	}
	return c
}

func (p process) sessionGetCommand() *cobra.Command {
	c := &cobra.Command{Use: "get SESSION", Short: "Show a session with its figures of the moment", Args: cobra.ExactArgs(1)}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			v, err := s.Sessions.Get(ctx, args[0])
			if err != nil {
				return err
			}
			return flags.print(v, func(w io.Writer) { printSession(w, v) })
		})
	}
	return c
}

// printSession prints a session for people.
func printSession(w io.Writer, v client.Session) {
	positive := func(n float64, format string) string {
		if n <= 0 {
			return ""
		}
		return fmt.Sprintf(format, n)
	}
	video, audio, net := v.Metrics.Video, v.Metrics.Audio, v.Metrics.Network
	picture := ""
	if video.Width > 0 {
		picture = fmt.Sprintf("%s %dx%d, %.4g fps, %.0f kbit/s", video.Codec, video.Width, video.Height, video.FrameRate, video.BitrateKbps)
	}
	sound := ""
	if audio.SampleRate > 0 {
		sound = fmt.Sprintf("%s %d Hz, %d channels, %.0f kbit/s", audio.Codec, audio.SampleRate, audio.Channels, audio.BitrateKbps)
	}
	card(w,
		[2]string{"session", v.ID},
		[2]string{"organisation", v.Org},
		[2]string{"input", v.Input},
		[2]string{"namespace", v.Namespace},
		[2]string{"protocol", v.Protocol},
		[2]string{"status", string(v.Status)},
		[2]string{"started", stamp(v.StartedAt)},
		[2]string{"ended", stamp(v.EndedAt)},
		[2]string{"end reason", v.EndReason},
		[2]string{"duration", positive(v.Duration, "%.1f s")},
		[2]string{"viewers", fmt.Sprintf("%d, at most %d", v.Viewers, v.PeakViewers)},
		[2]string{"encoder", strings.TrimSpace(v.Connection.RemoteAddress + " " + v.Connection.UserAgent)},
		[2]string{"video", picture},
		[2]string{"audio", sound},
		[2]string{"round trip", positive(net.RTTMs, "%.0f ms")},
		[2]string{"loss", positive(net.PacketLossPercent, "%.2f %%")},
		[2]string{"ingest to publish", positive(net.IngestToPublishMs, "%.1f ms")},
		[2]string{"target latency", positive(float64(v.Quality.TargetLatency), "%.0f ms")},
		[2]string{"max bitrate", positive(float64(v.Quality.MaxBitrate), "%.0f kbit/s")},
	)
}

func (p process) sessionStatusCommand(use, short string, to client.SessionStatus, said string) *cobra.Command {
	c := &cobra.Command{Use: use + " SESSION", Short: short, Args: cobra.ExactArgs(1)}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			v, err := s.Sessions.Update(ctx, args[0], "", client.SessionPatch{Status: to})
			if err != nil {
				return err
			}
			return flags.print(v, func(w io.Writer) { fmt.Fprintln(w, said, v.ID) })
		})
	}
	return c
}

func (p process) sessionUpdateCommand() *cobra.Command {
	var latency time.Duration
	var bitrate int
	var adaptive bool
	var metadata, properties map[string]string
	c := &cobra.Command{
		Use:   "update SESSION [--target-latency 500ms] [--max-bitrate KBIT/S] [--metadata KEY=VALUE] …",
		Short: "Change what a session's viewers are sent, and its metadata",
		Example: `  broadcastd session update sess_… --max-bitrate 2500
  broadcastd session update sess_… --metadata title="Evening news" --metadata draft=`,
		Args: cobra.ExactArgs(1),
	}
	flags := p.apiFlags(c)
	c.Flags().DurationVar(&latency, "target-latency", 0, "how far behind players aim to be")
	c.Flags().IntVar(&bitrate, "max-bitrate", 0, "the most that viewers are sent, in kbit/s; 0: no limit")
	c.Flags().BoolVar(&adaptive, "adaptive-bitrate", false, "let viewers change between renditions")
	c.Flags().StringToStringVar(&metadata, "metadata", nil, "`KEY=VALUE`; the value may be JSON, an empty one removes the key")
	c.Flags().StringToStringVar(&properties, "property", nil, "the same for a custom property")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		quality := client.QualityPatch{}
		ms := int(latency.Milliseconds())
		given(c.Flags(), "target-latency", &quality.TargetLatency, &ms)
		given(c.Flags(), "max-bitrate", &quality.MaxBitrate, &bitrate)
		given(c.Flags(), "adaptive-bitrate", &quality.AdaptiveBitrate, &adaptive)
		patch := client.SessionPatch{Metadata: values(metadata), CustomProperties: values(properties)}
		if quality != (client.QualityPatch{}) {
			patch.Quality = &quality
		}
		if patch.Quality == nil && patch.Metadata == nil && patch.CustomProperties == nil {
			return usageError{errors.New("nothing is to be changed: give --target-latency, --max-bitrate, --adaptive-bitrate, --metadata or --property")}
		}
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			v, err := s.Sessions.Update(ctx, args[0], "", patch)
			if err != nil {
				return err
			}
			return flags.print(v, func(w io.Writer) { printSession(w, v) })
		})
	}
	return c
}

// values returns flags as the values of a patch: JSON where they are JSON, null
// where they are empty.
func values(flags map[string]string) map[string]any {
	var out map[string]any
	for k, text := range flags {
		if out == nil {
			out = make(map[string]any)
		}
		var v any
		if text != "" && json.Unmarshal([]byte(text), &v) != nil {
			v = text
		}
		out[k] = v
	}
	return out
}

func (p process) sessionDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "delete SESSION", Aliases: []string{"rm"}, Short: "Forget a session that has ended", Args: cobra.ExactArgs(1),
		Long: `Forgets a session. One that is live must be ended first: "broadcastd session end".`,
	}
	flags := p.apiFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return flags.run(cmd, func(ctx context.Context, s *apiSession) error {
			if err := s.Sessions.Delete(ctx, args[0]); err != nil {
				return err
			}
			return flags.done("deleted", args[0])
		})
	}
	return c
}

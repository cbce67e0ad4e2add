package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/ingest/fmp4"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/publisher"
)

func (p process) publishCommand() *cobra.Command {
	var f clientFlags
	var key string
	var from pullFlags
	c := &cobra.Command{
		Use:   "publish --relay URL --namespace NAMESPACE [FILE|-|URL]",
		Short: "Publish a file, an encoder's output, an HLS, RTMP or SRT stream to a relay",
		Long: `Publishes fragmented MP4 (H.264, HEVC, AV1, AAC, Opus, FLAC) as a MoQ broadcast. A
file is sent in real time; standard input (-, or no argument) is taken as a live
encoder sends it. An http:// or https:// URL of an HLS playlist is pulled, live or
VOD, fMP4 or MPEG-TS segments; of several renditions the best is taken. An rtmp://
or rtmps:// URL is played, and so is what an SRT listener sends: srt://HOST:PORT with
streamid, passphrase and latency (milliseconds) in its query.

` + relayHelp + `

` + exitHelp,
		Example: `  broadcastd publish --relay moqt://localhost:4443 --insecure --namespace stream/local/cam movie.mp4
  ffmpeg -re -i movie.mkv -c:v libx264 -g 30 -c:a aac -f mp4 \
      -movflags +frag_every_frame+empty_moov+default_base_moof - |
    broadcastd publish --relay https://localhost:4443 --insecure --namespace stream/local/cam
  broadcastd publish --relay moqt://localhost:4443 --insecure --namespace stream/local/news https://news.example/live.m3u8`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVar(&key, "stream-key", "", "the stream's `KEY`; other users see a flag, so BROADCASTD_STREAM_KEY or BROADCASTD_STREAM_KEY_FILE is better")
	c.Flags().IntVar(&from.renditions.MaxHeight, "max-height", 0, "of HLS, take no picture higher than this many pixels")
	c.Flags().StringVar(&from.renditions.Name, "rendition", "", "of HLS, take the video rendition of this `NAME` or size, such as 720p")
	c.Flags().StringVar(&from.renditions.Audio, "audio", "", "of HLS, take the audio rendition of this `NAME` or language")
	c.Flags().BoolVar(&from.renditions.All, "all-renditions", false, "of HLS, take every rendition")
	c.Flags().StringArrayVar(&from.headers, "header", nil, "of HLS, send this `NAME: VALUE` to the URL's own host and to no other; may be repeated")
	c.Flags().StringArrayVar(&from.allow, "pull-allow", nil, "let what is pulled lead to this `ADDRESS` or prefix, which is not of the public Internet; may be repeated")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		t, err := f.target()
		if err != nil {
			return err
		}
		if t, err = t.publishing(p.streamKey(key)); err != nil {
			return err
		}
		src, closeSrc, err := p.input(append(args, "-")[0], from, p.clientLog(&f))
		if err != nil {
			return err
		}
		defer closeSrc()
		return p.publish(cmd.Context(), &f, t, src)
	}
	return c
}

// input opens what is to be published.
func (p process) input(name string, from pullFlags, log *slog.Logger) (src ingest.Source, done func(), err error) {
	if isHTTP(name) || isRTMP(name) || isSRT(name) {
		what, err := from.pulling(name)
		if err == nil {
			src, _, err = what.source(log)
		}
		if err != nil {
			return nil, nil, usageError{err}
		}
		return src, func() {}, nil
	}
	if from.set() {
		return nil, nil, usageError{errors.New("--max-height, --rendition, --audio, --all-renditions, --header and --pull-allow are for URLs that are pulled")}
	}
	if name == "-" {
		if terminal(p.in) {
			return nil, nil, usageError{errors.New("standard input is a terminal; name a file, or pipe an encoder's output in")}
		}
		return fmp4.Reader{In: newAbandonable(p.in)}, func() {}, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return ingest.Paced(fmp4.Reader{In: file}), func() { file.Close() }, nil
}

func (p process) publish(ctx context.Context, f *clientFlags, t target, src ingest.Source) error {
	log := p.clientLog(f)
	pub, err := publisher.New(t.ns, publisher.Config{Log: log})
	if err != nil {
		return err
	}
	return t.with(ctx, log, func(ctx context.Context, s *client.Client) error {
		g, gctx := errgroup.WithContext(context.WithoutCancel(ctx))
		g.Go(func() error { return pub.Run(gctx, s) })
		out := publisher.NewTimeline(pub, publisher.TimelineConfig{Log: log})
		fmt.Fprintf(p.err, "publishing %s\n", t.ns.Path())
		reading, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		defer context.AfterFunc(gctx, func() { stop(context.Cause(gctx)) })() // the relay refused
		err := src.Run(reading, out)
		// An interrupt ends the broadcast as the end of the input does.
		closed := pub.Close(nil)
		if refused := g.Wait(); refused != nil {
			return refused
		}
		settle(s.Session())
		if err == nil {
			fmt.Fprintln(p.err, "the input has ended, and so has the broadcast")
		}
		return errors.Join(err, closed)
	})
}

// The times within which the end of a broadcast leaves. Nothing says when the
// peer has it all, so quiet is taken for it.
const (
	settleMost  = 1500 * time.Millisecond
	settleQuiet = 100 * time.Millisecond
	settleLook  = 10 * time.Millisecond
)

// settle waits until the session has nothing more to send.
func settle(s *moqt.Session) {
	tick := time.NewTicker(settleLook)
	defer tick.Stop()
	began := time.Now()
	sent, since := s.Conn().Stats().PacketsSent, began
	for time.Since(began) < settleMost && time.Since(since) < settleQuiet {
		select {
		case <-tick.C:
		case <-s.Done():
			return
		}
		if n := s.Conn().Stats().PacketsSent; n != sent {
			sent, since = n, time.Now()
		}
	}
}

// An abandonable reads from a file whose Read cannot be interrupted, such as
// standard input: Close makes Read return. The goroutine that reads ahead stays
// until the process ends, which the command does then.
type abandonable struct {
	r *io.PipeReader
}

func newAbandonable(in io.Reader) abandonable {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	return abandonable{r}
}

func (a abandonable) Read(p []byte) (int, error) { return a.r.Read(p) }
func (a abandonable) Close() error               { return a.r.Close() }

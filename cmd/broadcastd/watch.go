package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/client"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/viewer"
	"github.com/broadcastd/broadcastd/viewer/recorder"
)

const defaultWait = 30 * time.Second

func (p process) viewCommand() *cobra.Command {
	var f clientFlags
	var output string
	var wait, duration time.Duration
	c := &cobra.Command{
		Use:   "view SIGNED-URL | view --relay URL --namespace NAMESPACE [-o FILE|-]",
		Short: "View a broadcast live: figures, or fragmented MP4",
		Long: `Views a broadcast as a player does: from the current group on, and groups that
come too late are skipped. Without -o it prints what comes, once a second; with
-o it writes fragmented MP4 to a file or, with -, to standard output.

` + relayHelp + `

` + exitHelp,
		Example: `  broadcastd view --relay moqt://localhost:4443 --insecure --namespace stream/local/demo
  broadcastd view --relay moqt://localhost:4443 --insecure --namespace stream/local/demo -o - | ffplay -
  broadcastd view 'moqt://localhost:4443/playback/demo?tok=…' --insecure`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "write fragmented MP4 to `FILE`, or to standard output with -")
	c.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait for a broadcast that is not there yet")
	c.Flags().DurationVar(&duration, "duration", 0, "end after so much media time; 0: with the broadcast")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		w := watch{p: p, flags: &f, signed: args, mode: viewer.Live, wait: wait, duration: duration}
		switch output {
		case "":
			return w.run(cmd.Context(), nil)
		case "-":
			return w.run(cmd.Context(), recorder.NewWriter(cmd.OutOrStdout(), recorder.Config{Log: p.clientLog(&f)}))
		}
		return w.toFile(cmd.Context(), output)
	}
	return c
}

func (p process) recordCommand() *cobra.Command {
	var f clientFlags
	var output string
	var wait, duration time.Duration
	c := &cobra.Command{
		Use:   "record SIGNED-URL | record --relay URL --namespace NAMESPACE --output FILE [--duration 10s]",
		Short: "Record a broadcast to a file, without a gap",
		Long: `Records a broadcast to a fragmented MP4 file, which is overwritten. The file is
playable at every moment, whatever happens to this program. Nothing that the
relay still has is skipped; what is missing nevertheless is reported.

` + relayHelp + `

` + exitHelp,
		Example: `  broadcastd record --relay moqt://localhost:4443 --insecure --namespace stream/local/cam --output cam.mp4 --duration 10s
  broadcastd record 'moqt://localhost:4443/playback/cam?tok=…' --insecure --output cam.mp4`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&output, "output", "o", "", "the `FILE` to write")
	c.Flags().DurationVar(&wait, "wait", defaultWait, "how long to wait for a broadcast that is not there yet")
	c.Flags().DurationVar(&duration, "duration", 0, "end after so much media time; 0: with the broadcast")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if output == "" {
			return usageError{errors.New("--output is missing, for example --output cam.mp4")}
		}
		w := watch{p: p, flags: &f, signed: args, mode: viewer.Lossless, wait: wait, duration: duration}
		return w.toFile(cmd.Context(), output)
	}
	return c
}

// A watch is one run of view or record.
type watch struct {
	p              process
	flags          *clientFlags
	signed         []string // at most one URL
	mode           viewer.Mode
	wait, duration time.Duration

	gaps   int
	figure figures
}

func (w *watch) target() (target, error) {
	if w.wait < 0 || w.duration < 0 {
		return target{}, usageError{errors.New("--wait and --duration cannot be negative")}
	}
	return w.flags.target(w.signed...)
}

func (w *watch) toFile(ctx context.Context, name string) error {
	if _, err := w.target(); err != nil {
		return err // before the file is emptied
	}
	rec, err := recorder.Create(name, recorder.Config{Log: w.p.clientLog(w.flags)})
	if err != nil {
		return err
	}
	if err := w.run(ctx, rec); err != nil {
		return err
	}
	if rec.Chunks() > 0 {
		fmt.Fprintf(w.p.err, "wrote %s of media to %s (%d chunks, %s)\n",
			seconds(rec.Duration()), strings.Join(rec.Files(), ", "), rec.Chunks(), count(w.gaps, "gap"))
	}
	return nil
}

// run views into rec, or prints figures if rec is nil.
func (w *watch) run(ctx context.Context, rec *recorder.Recorder) error {
	t, err := w.target()
	if err != nil {
		return err
	}
	log := w.p.clientLog(w.flags)
	cfg := viewer.Config{
		Mode: w.mode, Wait: w.wait, Duration: w.duration, Log: log, OnGap: w.gap,
	}
	var out cmaf.Broadcast = rec
	if rec == nil {
		w.figure = figures{out: w.p.out, began: time.Now()}
		cfg.OnCatalog, cfg.OnObject = w.figure.catalog, w.figure.object
		out = &w.figure
	}
	err = t.with(ctx, log, func(ctx context.Context, s *client.Client) error {
		v, err := viewer.New(s, t.ns, cfg)
		if err != nil {
			return usageError{err}
		}
		return v.Run(ctx, out)
	})
	err = w.ended(err, rec)
	if cerr := out.Close(err); err == nil && !errors.Is(cerr, recorder.ErrNothing) {
		err = cerr
	}
	return err
}

// ended says how the broadcast ended, and returns nil where that is no failure:
// it was planned, its publisher went away, or Ctrl-C.
func (w *watch) ended(err error, rec *recorder.Recorder) error {
	if end, ok := errors.AsType[*track.EndError](err); ok {
		fmt.Fprintf(w.p.err, "the broadcast broke off: %s\n", cmp.Or(end.Reason, end.Code.String()))
		return nil
	}
	switch {
	case errors.Is(err, errInterrupted):
		return nil
	case err != nil:
		return err
	}
	if rec != nil && w.duration > 0 && rec.Duration() < w.duration-time.Second/10 {
		fmt.Fprintf(w.p.err, "the broadcast ended after %s, before the %s that were asked for\n", seconds(rec.Duration()), seconds(w.duration))
	} else if w.duration == 0 {
		fmt.Fprintln(w.p.err, "the broadcast has ended")
	}
	return nil
}

func (w *watch) gap(g viewer.Gap) {
	w.gaps++
	fmt.Fprintf(w.p.err, "gap: track %s, %s, from %d/%d up to group %d\n", g.Track, g.Reason, g.From.Group, g.From.Object, g.To)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// figures is a cmaf.Broadcast that counts and prints.
type figures struct {
	out    io.Writer
	began  time.Time
	origin time.Time // UTC of media time 0; zero: unknown
	told   time.Time
	list   string // of the tracks in the last catalog

	objects, bytes int
	delays         time.Duration // the last object's, from its capture on
	group          uint64
}

func (f *figures) catalog(c catalog.Catalog) {
	f.origin, _ = c.Origin()
	var names []string
	for _, t := range c.Tracks {
		text := t.Name + " " + t.Codec
		if t.Width > 0 {
			text += fmt.Sprintf(" %dx%d", t.Width, t.Height)
		}
		names = append(names, text)
	}
	if list := strings.Join(names, ", "); list != f.list {
		f.list = list
		fmt.Fprintf(f.out, "tracks: %s\n", list)
	}
}

func (f *figures) object(o viewer.Object) {
	if f.objects == 0 && f.told.IsZero() {
		f.told = o.Arrival
		fmt.Fprintf(f.out, "first object after %v\n", o.Arrival.Sub(f.began).Round(time.Millisecond))
	}
	f.objects++
	f.bytes += o.Size
	f.group = o.Location.Group
	if !f.origin.IsZero() {
		f.delays = o.Arrival.Sub(f.origin.Add(o.Time.Duration()))
	}
	span := o.Arrival.Sub(f.told)
	if span < time.Second {
		return
	}
	delay := ""
	if !f.origin.IsZero() {
		delay = fmt.Sprintf(", delay %d ms", f.delays.Milliseconds())
	}
	fmt.Fprintf(f.out, "group %d: %.0f objects/s, %.0f kbit/s%s\n",
		f.group, float64(f.objects)/span.Seconds(), float64(8*f.bytes)/1000/span.Seconds(), delay)
	f.objects, f.bytes, f.told = 0, 0, o.Arrival
}

func (f *figures) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return nowhere{}, nil }
func (f *figures) Event(cmaf.Event) error                          { return nil }
func (f *figures) Discontinuity(reason string)                     { fmt.Fprintln(f.out, "discontinuity:", reason) }
func (f *figures) Anchor(cmaf.Time, time.Time)                     {}
func (f *figures) Close(error) error                               { return nil }

// nowhere is a Sink for media that was counted already.
type nowhere struct{}

func (nowhere) WriteChunk(cmaf.Chunk) error { return nil }
func (nowhere) Close() error                { return nil }

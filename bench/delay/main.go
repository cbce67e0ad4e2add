// Command delay measures what a first user feels, on this machine: how long
// the daemon takes from its start to listening, what memory it holds while
// idle, and the delay from an encoder's POST to a viewer's callback, after the
// first second.
//
//	go run ./bench/delay [-duration 20s]
//
// It builds the daemon, runs it on free loopback ports, and sends the built-in
// clip in real time, a fragment for each picture and each AAC frame, as a live
// encoder does.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/internal/demo"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/viewer"
)

func main() {
	duration := flag.Duration("duration", 20*time.Second, "how long to measure the delay over each transport")
	flag.Parse()
	if err := run(*duration); err != nil {
		fmt.Fprintln(os.Stderr, "delay:", err)
		os.Exit(1)
	}
}

func run(duration time.Duration) error {
	dir, err := os.MkdirTemp("", "broadcastd-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system tidies up its own folder
	binary := filepath.Join(dir, "broadcastd")
	build := exec.Command("go", "build", "-o", binary, "./cmd/broadcastd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return err
	}
	fmt.Printf("%s, %s/%s, %d CPUs\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var starts []time.Duration
	for range 10 {
		d, err := start(binary, dir)
		if err != nil {
			return err
		}
		starts = append(starts, d.listening)
		if err := d.stop(); err != nil {
			return err
		}
	}
	report("start to listening", starts)

	d, err := start(binary, dir)
	if err != nil {
		return err
	}
	defer d.stop() //nolint:errcheck // measured already
	time.Sleep(3 * time.Second)
	fmt.Printf("%-28s %.1f MB resident after 3 s\n", "idle memory", float64(rss(d.cmd.Process.Pid))/1e6)
	for _, scheme := range []string{"moqt", "https"} {
		if err := d.delay(scheme, duration); err != nil {
			return fmt.Errorf("%s: %w", scheme, err)
		}
	}
	fmt.Printf("%-28s %.1f MB resident\n", "memory afterwards", float64(rss(d.cmd.Process.Pid))/1e6)
	return nil
}

// A daemon is one that runs.
type daemon struct {
	cmd       *exec.Cmd
	http, moq string
	listening time.Duration
}

func start(binary, dir string) (*daemon, error) {
	d := &daemon{http: freeAddr(), moq: freeAddr()}
	d.cmd = exec.Command(binary, "serve", "--state-dir", filepath.Join(dir, "state"), "--log.level", "error",
		"--http.listen", d.http, "--moq.listen", d.moq, "--admin.listen", "127.0.0.1:0")
	d.cmd.Stderr = os.Stderr
	began := time.Now()
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	for time.Since(began) < 10*time.Second {
		if c, err := net.Dial("tcp", d.moq); err == nil { // the last one to be bound
			d.listening = time.Since(began)
			return d, c.Close()
		}
		time.Sleep(time.Millisecond / 2)
	}
	return nil, errors.Join(errors.New("the daemon does not listen"), d.stop())
}

func (d *daemon) stop() error {
	return errors.Join(d.cmd.Process.Signal(os.Interrupt), d.cmd.Wait())
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "127.0.0.1:0"
	}
	defer l.Close()
	return l.Addr().String()
}

// rss returns the resident memory of a process in bytes, 0 where there is no /proc.
func rss(pid int) (size int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &size); err == nil {
			return size * 1024
		}
	}
	return 0
}

// delay sends and views for a while, and reports.
func (d *daemon) delay(scheme string, duration time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), duration)
	defer cancel()
	s := &sender{
		url: "http://" + d.http + "/ingest/bench-" + scheme, began: time.Now(),
		sent: make(map[string]map[int64]time.Time),
	}
	delays := map[string][]time.Duration{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ended(gctx, demo.Source{}.Run(gctx, s)) })
	g.Go(func() error {
		return ended(gctx, d.view(gctx, scheme, func(o viewer.Object) {
			if at, ok := s.sentAt(o); ok {
				delays[o.Track] = append(delays[o.Track], time.Since(at))
			}
		}))
	})
	err := g.Wait()
	if err = errors.Join(err, s.Close(nil)); err != nil {
		return err
	}
	for _, name := range []string{"video", "audio"} {
		report(fmt.Sprintf("delay of %s over %s", name, scheme), delays[name])
	}
	return nil
}

// ended returns nil for an error that only says that the time was over.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// view views the broadcast and gives every object to f.
func (d *daemon) view(ctx context.Context, scheme string, f func(viewer.Object)) error {
	res, err := http.Get("http://" + d.http + "/certificate.sha256")
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return err
	}
	pin, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	conn, err := transport.Dial(ctx, scheme+"://"+d.moq, transport.DialConfig{CertSHA256: [][]byte{pin}})
	if err != nil {
		return err
	}
	s, err := moqt.NewSession(conn, moqt.Config{})
	if err != nil {
		return err
	}
	ns, err := track.NewNamespace("stream", "local", "bench-"+scheme)
	if err != nil {
		return err
	}
	v, err := viewer.New(s, ns, viewer.Config{Wait: 10 * time.Second, OnObject: f})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return v.Run(ctx, nowhere{}) })
	return g.Wait()
}

// A sender is a cmaf.Broadcast that posts each track, a request for each, and
// remembers when it sent what.
type sender struct {
	url string

	mu    sync.Mutex
	sent  map[string]map[int64]time.Time // by track and decode time
	shift int64                          // whole seconds that the daemon adds
	found bool
	began time.Time
	posts []*post
}

type post struct {
	s      *sender
	name   string
	seq    uint32
	body   *io.PipeWriter
	answer chan error
}

func (s *sender) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	r, w := io.Pipe()
	p := &post{s: s, name: name, body: w, answer: make(chan error, 1)}
	s.mu.Lock()
	s.posts, s.sent[name] = append(s.posts, p), make(map[int64]time.Time)
	s.mu.Unlock()
	go func() {
		res, err := http.Post(s.url+"/"+name, "video/mp4", r)
		if err == nil {
			defer res.Body.Close()
			if res.StatusCode >= 300 {
				text, _ := io.ReadAll(res.Body)
				err = fmt.Errorf("POST: %s: %s", res.Status, bytes.TrimSpace(text))
			}
		}
		r.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
		p.answer <- err
	}()
	_, err := w.Write(h.Init)
	return p, err
}

func (p *post) WriteChunk(c cmaf.Chunk) error {
	p.seq++
	b := c.AppendTo(nil, 1, p.seq)
	p.s.mu.Lock()
	p.s.sent[p.name][c.DecodeTime] = time.Now()
	p.s.mu.Unlock()
	_, err := p.body.Write(b)
	return err
}

func (p *post) Close() error { return nil }

func (s *sender) Event(cmaf.Event) error      { return nil }
func (s *sender) Discontinuity(string)        {}
func (s *sender) Anchor(cmaf.Time, time.Time) {}

// Close ends the requests and waits for their answers.
func (s *sender) Close(error) error {
	var faults []error
	for _, p := range s.posts {
		p.body.Close()
		faults = append(faults, <-p.answer)
	}
	return errors.Join(faults...)
}

// sentAt returns when the chunk of an object was posted. The daemon has added
// whole seconds to its time; the first object shows how many, as those that
// make it the latest one posted.
func (s *sender) sentAt(o viewer.Object) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, scale := s.sent[o.Track], int64(o.Time.Scale)
	if !s.found && scale > 0 {
		var latest time.Time
		for dts, at := range sent {
			if (o.Time.Ticks-dts)%scale == 0 && at.After(latest) && !at.After(o.Arrival) {
				latest, s.shift, s.found = at, (o.Time.Ticks-dts)/scale, true
			}
		}
	}
	at, ok := sent[o.Time.Ticks-s.shift*scale]
	return at, ok && at.Sub(s.began) > warmUp
}

// warmUp is left out: a broadcast of several requests begins a moment later
// than the first of them, so that it begins with all its tracks.
const warmUp = time.Second

// nowhere is a cmaf.Broadcast for media that was measured already.
type nowhere struct{}

type nowhereSink struct{}

func (nowhere) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return nowhereSink{}, nil }
func (nowhere) Event(cmaf.Event) error                          { return nil }
func (nowhere) Discontinuity(string)                            {}
func (nowhere) Anchor(cmaf.Time, time.Time)                     {}
func (nowhere) Close(error) error                               { return nil }
func (nowhereSink) WriteChunk(cmaf.Chunk) error                 { return nil }
func (nowhereSink) Close() error                                { return nil }

func report(what string, list []time.Duration) {
	if len(list) == 0 {
		fmt.Printf("%-28s nothing came\n", what)
		return
	}
	slices.Sort(list)
	at := func(p float64) float64 { return list[int(p*float64(len(list)-1))].Seconds() * 1000 }
	fmt.Printf("%-28s median %.2f ms, p99 %.2f ms, most %.2f ms (%d)\n", what, at(0.5), at(0.99), at(1), len(list))
}

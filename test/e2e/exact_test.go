package e2e_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/test/harness"
	"github.com/broadcastd/broadcastd/viewer"
)

var atEnd = []string{"-method", "POST", "-send_expect_100", "1"}

// TestExact sends 20 s of H.264 with B-frames and AAC and records them over
// both transports: every packet arrives once, in order, byte for byte, with its
// distances in time. Meanwhile 20 viewers join at random moments.
func TestExact(t *testing.T) {
	t.Parallel()
	const length = 20 * time.Second
	dir := t.TempDir()
	source, sent := filepath.Join(dir, "source.mp4"), filepath.Join(dir, "sent.mp4")
	picture := harness.TestPicture{Duration: length, BFrames: 2, Fast: true}
	if err := harness.FFmpeg(t, append(picture.Args(), source)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}

	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "1s"}})
	recorders := map[string]*harness.Proc{}
	for _, scheme := range []string{"moqt", "https"} {
		args := append([]string{"record", "--namespace", "stream/local/cam", "--output", filepath.Join(dir, scheme+".mp4")}, relayURL(t, d, scheme)...)
		recorders[scheme] = command(t, args...)
	}
	// The same packets go to the daemon and, through the same muxer, to a file.
	args := append([]string{"-re", "-i", source, "-c", "copy"}, harness.FMP4()...)
	args = append(append(args, atEnd...), "http://"+d.HTTP+"/ingest/cam", "-c", "copy")
	push := harness.FFmpeg(t, append(append(args, harness.FMP4()...), sent)...)
	d.WaitLive(t, "stream/local/cam", 10*time.Second)

	joinAtRandom(t, d, "stream/local/cam", 20, length-5*time.Second)

	if err := push.Wait(length); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	for scheme, rec := range recorders {
		if err := rec.Wait(10 * time.Second); err != nil {
			t.Errorf("record over %s: %v\n%s", scheme, err, rec.Log())
			continue
		}
		for _, want := range []string{"the broadcast has ended", ", no gap)"} {
			if !strings.Contains(rec.Log(), want) {
				t.Errorf("record over %s said %q, want %q in it", scheme, rec.Log(), want)
			}
		}
		file := filepath.Join(dir, scheme+".mp4")
		var first [2][2]int64 // of video and audio: recorded, sent
		for i, kind := range []string{"v", "a"} {
			got, want := packets(t, file, kind), packets(t, sent, kind)
			if diff := difference(got, want); diff != "" {
				t.Errorf("recorded over %s, stream %s: %s", scheme, kind, diff)
			}
			first[i] = [2]int64{inMicroseconds(t, got), inMicroseconds(t, want)}
		}
		if g, w := first[0][0]-first[1][0], first[0][1]-first[1][1]; g != w {
			t.Errorf("recorded over %s: video begins %d µs after audio, want %d µs", scheme, g, w)
		}
	}
}

// inMicroseconds returns the decode time of a stream's first packet.
func inMicroseconds(t *testing.T, s stream) int64 {
	t.Helper()
	var num, den int64
	if _, err := fmt.Sscanf(s.base, "%d/%d", &num, &den); err != nil {
		t.Fatalf("time base %q: %v", s.base, err)
	}
	return s.packets[0].dts * num * 1_000_000 / den
}

// joinAtRandom lets n viewers join within span, over both transports. None may
// miss the catalog, and each has to get the first picture, a key frame, within
// a group's length.
func joinAtRandom(t *testing.T, d *harness.Daemon, namespace string, n int, span time.Duration) {
	t.Helper()
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed of the viewers' moments: %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var wg sync.WaitGroup
	for i := range n {
		wait := time.Duration(random.Int64N(int64(span)))
		scheme := []string{"moqt", "https"}[i%2]
		wg.Go(func() {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			<-timer.C
			got, err := join(t.Context(), scheme+"://"+d.MoQ, namespace, pin)
			const group = time.Second
			switch {
			case err != nil:
				t.Errorf("viewer %d over %s: %v", i, scheme, err)
			case got.catalog == 0 || got.picture == 0:
				t.Errorf("viewer %d over %s: catalog after %v, picture after %v", i, scheme, got.catalog, got.picture)
			case got.picture > group:
				t.Errorf("viewer %d over %s: first picture after %v, want less than a group, %v", i, scheme, got.picture, group)
			case !got.key:
				t.Errorf("viewer %d over %s: the first picture is no key frame", i, scheme)
			}
		})
	}
	wg.Wait()
}

// joined says when things came, counted from the dial.
type joined struct {
	catalog, picture time.Duration
	key              bool
}

var errSeen = errors.New("seen enough")

// join views until the first picture has come.
func join(ctx context.Context, url, namespace string, pin []byte) (joined, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	began := time.Now()
	conn, err := transport.Dial(ctx, url, transport.DialConfig{CertSHA256: [][]byte{pin}})
	if err != nil {
		return joined{}, err
	}
	s, err := moqt.NewSession(conn, moqt.Config{Authority: "localhost", Path: "/"})
	if err != nil {
		return joined{}, err
	}
	running, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(running)
	}()
	defer func() { end(); <-ended }()
	ns, err := track.SplitNamespace(namespace)
	if err != nil {
		return joined{}, err
	}
	var j joined
	v, err := viewer.New(s, ns, viewer.Config{
		OnCatalog: func(catalog.Catalog) {
			if j.catalog == 0 {
				j.catalog = time.Since(began)
			}
		},
	})
	if err != nil {
		return joined{}, err
	}
	err = v.Run(ctx, &firstPicture{j: &j, began: began})
	if !errors.Is(err, errSeen) {
		return j, fmt.Errorf("no picture: %w", err)
	}
	return j, nil
}

// firstPicture is a Broadcast that is content with one picture.
type firstPicture struct {
	j     *joined
	began time.Time
}

func (f *firstPicture) AddTrack(_ string, h cmaf.Header) (cmaf.Sink, error) {
	return pictureSink{f, h.Kind}, nil
}
func (f *firstPicture) Event(cmaf.Event) error      { return nil }
func (f *firstPicture) Discontinuity(string)        {}
func (f *firstPicture) Anchor(cmaf.Time, time.Time) {}
func (f *firstPicture) Close(error) error           { return nil }

type pictureSink struct {
	f    *firstPicture
	kind cmaf.Kind
}

func (s pictureSink) WriteChunk(c cmaf.Chunk) error {
	if s.kind != cmaf.KindVideo {
		return nil
	}
	s.f.j.picture, s.f.j.key = time.Since(s.f.began), c.RAP
	return errSeen
}

func (s pictureSink) Close() error { return nil }

// TestSegmenters publishes as ffmpeg's HLS and DASH muxers do, a request for
// each segment, header and playlist.
func TestSegmenters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		file string
	}{
		{"hls", []string{"-f", "hls", "-hls_time", "1", "-hls_segment_type", "fmp4", "-hls_flags", "delete_segments"}, "index.m3u8"},
		{"dash", []string{"-f", "dash", "-seg_duration", "1", "-window_size", "3"}, "index.mpd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "2s"}})
			out := filepath.Join(t.TempDir(), "out.mp4")
			rec := command(t, append([]string{"record", "--namespace", "stream/local/cam", "--output", out}, relayURL(t, d, "moqt")...)...)
			args := append(harness.TestPicture{Duration: 6 * time.Second}.Args(), tt.args...)
			push := harness.FFmpeg(t, append(args, "-method", "PUT", "http://"+d.HTTP+"/ingest/cam/"+tt.file)...)
			if err := push.Wait(20 * time.Second); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, push.Log())
			}
			if err := rec.Wait(15 * time.Second); err != nil {
				t.Fatalf("record: %v\n%s", err, rec.Log())
			}
			if !strings.Contains(rec.Log(), "no gap") {
				t.Errorf("record said %q, want no gap", rec.Log())
			}
			// 180 pictures and 281 AAC frames, less what ffmpeg keeps to itself at the end.
			if n := len(packets(t, out, "v").packets); n < 175 {
				t.Errorf("%d pictures recorded, want 180", n)
			}
			if n := len(packets(t, out, "a").packets); n < 270 {
				t.Errorf("%d AAC frames recorded, want 281", n)
			}
		})
	}
}

// TestPublishCommand publishes a file with our own command, which paces it.
func TestPublishCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "source.mp4"), filepath.Join(dir, "out.mp4")
	picture := harness.TestPicture{Duration: 4 * time.Second, BFrames: 2, Fast: true}
	args := append(picture.Args(), "-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", source)
	if err := harness.FFmpeg(t, args...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{})
	rec := command(t, append([]string{"record", "--namespace", "stream/local/file", "--output", out}, relayURL(t, d, "https")...)...)
	began := time.Now()
	pub := command(t, append([]string{"publish", "--namespace", "stream/local/file", source}, relayURL(t, d, "moqt")...)...)
	if err := pub.Wait(20 * time.Second); err != nil {
		t.Fatalf("publish: %v\n%s", err, pub.Log())
	}
	if took := time.Since(began); took < 3500*time.Millisecond || took > 8*time.Second {
		t.Errorf("publishing 4 s took %v, want real time", took)
	}
	if err := rec.Wait(10 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	for _, kind := range []string{"v", "a"} {
		if diff := difference(packets(t, out, kind), packets(t, source, kind)); diff != "" {
			t.Errorf("stream %s: %s", kind, diff)
		}
	}
	rec.WaitLog(regexp.MustCompile(`the broadcast has ended`), time.Second)
}

// TestPublishStandardInput pipes an encoder's output into our own command.
func TestPublishStandardInput(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	out := filepath.Join(t.TempDir(), "out.mp4")
	rec := command(t, append([]string{"record", "--namespace", "stream/local/pipe", "--output", out, "--duration", "2s"}, relayURL(t, d, "moqt")...)...)
	encoder := strings.Join(append(append([]string{"ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning"}, harness.TestPicture{Duration: 5 * time.Second}.Args()...), append(harness.FMP4(), "-")...), " ")
	pub := shell(t, encoder+" | \"$BROADCASTD\" publish --namespace stream/local/pipe "+strings.Join(relayURL(t, d, "https"), " "))
	if err := rec.Wait(15 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if !strings.Contains(rec.Log(), "wrote 2.0") {
		t.Errorf("record --duration 2s said %q", rec.Log())
	}
	if err := pub.Wait(15 * time.Second); err != nil {
		t.Errorf("publish: %v\n%s", err, pub.Log())
	}
	if s := packets(t, out, "v"); len(s.packets) != 60 || !bytes.Equal([]byte(s.base), []byte("1/15360")) {
		t.Errorf("%d pictures in %s, want 60 in 1/15360", len(s.packets), s.base)
	}
}

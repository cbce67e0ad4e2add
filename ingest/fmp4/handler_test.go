package fmp4

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

func TestOneBody(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "baseoffset.mp4", "dash.mp4"} {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(method+" "+name, func(t *testing.T) {
				b := newBench(t, Config{}, 0)
				b.mustDo(method, "cam", fixture(t, name))
				b.wait(t, "one second", b.whole)
				if list := b.reg.Sessions(); len(list) != 1 || list[0].Connected {
					t.Errorf("Sessions after the body = %+v, want one that waits", list)
				}
				b.mustDo("DELETE", "cam", nil)
				b.wait(t, "the end", func() bool { return b.all[0].closed })
			})
		}
	}
}

// TestRequestPerSegment sends the header and each fragment in requests of
// their own, in the ways that segmenters name them.
func TestRequestPerSegment(t *testing.T) {
	header, fragments := split(t, fixture(t, "everyframe.mp4"))
	for _, tt := range []struct{ name, header, segment string }{
		{"one path", "cam", "cam"},
		{"numbered", "cam/init.mp4", "cam/out%d.m4s"},
		{"ffmpeg dash", "cam/init-stream0.m4s", "cam/chunk-stream0-%05d.m4s"},
		{"one path below", "cam/main.cmfv", "cam/main.cmfv"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{}, 0)
			b.mustDo("PUT", tt.header, header)
			for i, f := range fragments {
				path := tt.segment
				if strings.Contains(path, "%") {
					path = fmt.Sprintf(path, i+1)
				}
				b.mustDo("PUT", path, f)
				b.mustDo("PUT", "cam/index.m3u8", []byte("#EXTM3U\n"))
			}
			b.wait(t, "one second", b.whole)
			if len(b.all) != 1 || b.all[0].jumps != 0 || len(b.all[0].order) != 2 {
				t.Errorf("%d broadcasts, %d jumps, tracks %q; want one, none, two", len(b.all), b.all[0].jumps, b.all[0].order)
			}
		})
	}
}

// TestRenditionsAtOnce sends video and audio in two endless bodies.
func TestRenditionsAtOnce(t *testing.T) {
	b := newBench(t, Config{}, 0)
	v, videoDone := b.open("cam/video.cmfv")
	a, audioDone := b.open("cam/audio.cmfa")
	for _, x := range []struct {
		w    io.WriteCloser
		file string
	}{{v, "video.mp4"}, {a, "audio.mp4"}} {
		if _, err := x.w.Write(fixture(t, x.file)); err != nil {
			t.Fatal(err)
		}
	}
	b.wait(t, "one second", b.whole)
	v.Close()
	a.Close()
	for _, c := range []<-chan string{videoDone, audioDone} {
		if got := <-c; got != "204 " {
			t.Errorf("answer = %q, want 204", got)
		}
	}
	if len(b.all) != 1 {
		t.Errorf("%d broadcasts, want one", len(b.all))
	}
}

// TestTwoVideoRenditions checks that their tracks get names of their own, and
// the same ones when the header comes again.
func TestTwoVideoRenditions(t *testing.T) {
	b := newBench(t, Config{}, 0)
	for range 2 {
		b.mustDo("PUT", "cam/hi.cmfv", fixture(t, "video.mp4"))
		b.mustDo("PUT", "cam/lo.cmfv", fixture(t, "video.mp4"))
	}
	if got := strings.Join(b.all[0].order, " "); got != "video video2" {
		t.Errorf("tracks = %q, want %q", got, "video video2")
	}
	header, fragments := split(t, fixture(t, "video.mp4"))
	if code, text := b.do("PUT", "cam/other-1.m4s", bytes.NewReader(fragments[0])); code != 409 || !strings.Contains(text, `rendition "other"`) {
		t.Errorf("a segment of nobody knows which rendition = %d %s, want 409", code, text)
	}
	b.mustDo("PUT", "cam/other/init.mp4", header)
	for i := range maxRenditions - 3 {
		b.mustDo("PUT", fmt.Sprintf("cam/r%d/init.mp4", i), header)
	}
	if code, text := b.do("PUT", "cam/last/init.mp4", bytes.NewReader(header)); code != 503 || !strings.Contains(text, "at most 16") {
		t.Errorf("one rendition too many = %d %s, want 503", code, text)
	}
}

// TestTakeover opens a second endless body while the first one hangs.
func TestTakeover(t *testing.T) {
	b := newBench(t, Config{}, 0)
	file := fixture(t, "keyframe.mp4")
	w, first := b.open("cam")
	defer w.Close()
	if _, err := w.Write(file); err != nil {
		t.Fatal(err)
	}
	b.wait(t, "one second", b.whole)

	if code, text := b.do("POST", "cam", strings.NewReader("rubbish rubbish")); code != 400 {
		t.Errorf("rubbish = %d %s, want 400", code, text)
	}
	select {
	case got := <-first:
		t.Fatalf("rubbish ended the input that sends: %s", got)
	default:
	}

	b.mustDo("POST", "cam", file)
	if got := <-first; got != "409 a newer connection of this input took over" {
		t.Errorf("answer to the older connection = %q", got)
	}
	if len(b.all) != 1 || b.all[0].jumps != 1 || b.all[0].tracks["video"].chunks != 50 {
		t.Errorf("%d broadcasts, %d jumps, %d pictures; want 1, 1, 50", len(b.all), b.all[0].jumps, b.all[0].tracks["video"].chunks)
	}
}

// TestSegmentAfterALostConnection sends on with a new connection while the old
// one is neither closed nor fed: the rendition is handed over.
func TestSegmentAfterALostConnection(t *testing.T) {
	b := newBench(t, Config{}, 0)
	header, fragments := split(t, fixture(t, "everyframe.mp4"))
	w, first := b.open("cam/main.cmfv")
	defer w.Close()
	w.Write(header)
	w.Write(fragments[0])
	w.Write(fragments[1][:len(fragments[1])/2])
	b.wait(t, "the first picture", func() bool {
		return len(b.all) > 0 && b.all[0].tracks["video"] != nil && b.all[0].tracks["video"].chunks > 0
	})
	for _, f := range fragments[1:] {
		b.mustDo("POST", "cam/main.cmfv", f)
	}
	if got := <-first; !strings.HasPrefix(got, "409 ") {
		t.Errorf("answer to the lost connection = %q, want 409", got)
	}
	b.wait(t, "one second", b.whole)
}

func TestLostInput(t *testing.T) {
	b := newBench(t, Config{}, 300*time.Millisecond)
	header, fragments := split(t, fixture(t, "keyframe.mp4"))
	b.mustDo("POST", "cam", fixture(t, "keyframe.mp4"))
	b.wait(t, "the end", func() bool { return b.all[0].closed })
	// The input is forgotten with its session: its header too.
	if code, _ := b.do("POST", "cam", bytes.NewReader(fragments[0])); code != 400 {
		t.Errorf("a segment without a header = %d, want 400", code)
	}
	b.mustDo("POST", "cam", header)
	b.mustDo("POST", "cam", fragments[0])
	b.wait(t, "a new broadcast", func() bool { return len(b.all) == 2 })
}

// TestMalformed sends what is wrong after what is right: the right part is
// kept, and the answer names the box and where it starts.
func TestMalformed(t *testing.T) {
	good := fixture(t, "keyframe.mp4")
	header, fragments := split(t, good)
	box := func(size uint32, typ string, rest ...byte) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, size), typ...), rest...)
	}
	large := func(size uint64) []byte {
		return binary.BigEndian.AppendUint64(box(1, "moof"), size)
	}
	at := len(good)
	for _, tt := range []struct {
		name string
		body []byte
		want string // in the sentence
		kept int    // pictures
	}{
		{"size 0", append(bytes.Clone(good), box(0, "moof", 1, 2, 3)...), fmt.Sprintf("box moof at byte %d: ", at), 25},
		{"size 1 with 2^63", append(bytes.Clone(good), large(1<<63)...), fmt.Sprintf("box moof at byte %d: ", at), 25},
		{"size 1 with 4", append(bytes.Clone(good), large(4)...), fmt.Sprintf("box moof at byte %d: ", at), 25},
		{"size 7", append(bytes.Clone(good), box(7, "moof")...), fmt.Sprintf("box moof at byte %d: ", at), 25},
		{"truncated in an mdat", good[:at-10], "ends 10 bytes short", 20},
		{"truncated in a header", good[:len(header)+5], fmt.Sprintf("at byte %d: ", len(header)), 0},
		{"no moov", bytes.Join(fragments, nil), "box moof at byte 0: comes before any moov", 0},
		{"moof before moov", append(bytes.Clone(fragments[0]), header...), "box moof at byte 0: comes before any moov", 0},
		{"a moov without tracks", box(8, "moov"), "box moov", 0},
		{"10 000 tracks", tracks(10_000), "box moov/trak at byte ", 0},
		{"not an MP4", []byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"), "at byte 0: ", 0},
		{"a progressive file", fixture(t, "progressive.mp4"), "outside any fragment; write a fragmented file", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{}, 0)
			code, text := b.do("POST", "cam", bytes.NewReader(tt.body))
			if code != 400 || !strings.Contains(text, tt.want) || strings.Contains(text, "\n") {
				t.Errorf("answer = %d %q, want 400 and one sentence with %q", code, text, tt.want)
			}
			var kept int
			if len(b.all) > 0 {
				kept = b.all[0].tracks["video"].chunks
			}
			if kept < tt.kept || tt.kept == 0 && len(b.all) > 0 {
				t.Errorf("%d pictures came through of %d broadcasts, want %d at least, and no broadcast without one", kept, len(b.all), tt.kept)
			}
			// The same input goes on afterwards.
			b.mustDo("POST", "cam", good)
			b.wait(t, "more pictures", func() bool { return b.all[0].tracks["video"].chunks >= kept+25 })
			if len(b.all) != 1 {
				t.Errorf("%d broadcasts, want one that went on", len(b.all))
			}
		})
	}
}

// tracks is a moov with n empty tracks.
func tracks(n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+8*n))
	b = append(b, "moov"...)
	for range n {
		b = append(b, 0, 0, 0, 8, 't', 'r', 'a', 'k')
	}
	return b
}

// TestRefusalBeforeTheBody talks HTTP by hand, as ffmpeg with
// -send_expect_100 does: a refusal comes instead of "100 Continue".
func TestRefusalBeforeTheBody(t *testing.T) {
	b := newBench(t, Config{Allow: func(_ *http.Request, name string) (Admission, error) {
		if name != "cam" {
			return nil, errors.New("not this one")
		}
		return admission{name, t.Context()}, nil
	}}, 0)
	host := strings.TrimSuffix(strings.TrimPrefix(b.url, "http://"), "/ingest/")
	for _, tt := range []struct{ method, path, want string }{
		{"POST", "cam", "HTTP/1.1 100 Continue"},
		{"POST", "other", "HTTP/1.1 403 Forbidden"},
		{"GET", "cam", "HTTP/1.1 405 Method Not Allowed"},
		{"POST", "cam/" + strings.Repeat("x", 300), "HTTP/1.1 414 Request URI Too Long"},
	} {
		c, err := net.Dial("tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s /ingest/%s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", tt.method, tt.path)
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if strings.TrimSpace(line) != tt.want {
			t.Errorf("%s %.20s: %q, %v; want %q", tt.method, tt.path, line, err, tt.want)
		}
		c.Close()
	}
}

// A sender whose key is taken back is told so, and its next bytes are not read.
func TestRevokedWhileSending(t *testing.T) {
	ctx, revoke := context.WithCancelCause(t.Context())
	b := newBench(t, Config{Allow: func(_ *http.Request, name string) (Admission, error) {
		return admission{name, ctx}, nil
	}, Idle: time.Minute}, 0)
	r, w := io.Pipe()
	defer w.Close()
	answer := make(chan string)
	go func() {
		res, err := http.Post(b.url+"cam", "video/mp4", r)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		answer <- res.Status + " " + string(text)
	}()
	if _, err := w.Write(fixture(t, "cmaf.mp4")[:512]); err != nil {
		t.Fatal(err)
	}
	revoke(unwanted{})
	if got, want := <-answer, "401 Unauthorized the key was revoked\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
}

// unwanted is a refusal with a status of its own.
type unwanted struct{}

func (unwanted) Error() string   { return "the key was revoked" }
func (unwanted) HTTPStatus() int { return http.StatusUnauthorized }

// TestErrorDoesNotWaitForTheBody sends a fault and then nothing more, over both
// versions of HTTP.
func TestErrorDoesNotWaitForTheBody(t *testing.T) {
	reg, err := ingest.NewRegistry(ingest.Config{Opener: &store{}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Sessions: reg, Allow: anybody, Idle: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for version, enable := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(version, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = enable
			srv.StartTLS()
			defer srv.Close()
			r, w := io.Pipe()
			defer w.Close()
			go w.Write([]byte("this is not an mp4 file"))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL+"/ingest/cam", r)
			if err != nil {
				t.Fatal(err)
			}
			res, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			text, err := io.ReadAll(res.Body)
			if res.Proto != version || res.StatusCode != 400 || err != nil || !strings.Contains(string(text), "at byte 0") {
				t.Errorf("answer = %s %d %q, %v; want %s 400 with the byte", res.Proto, res.StatusCode, text, err, version)
			}
		})
	}
}

func TestIdleBody(t *testing.T) {
	b := newBench(t, Config{Idle: 200 * time.Millisecond}, 0)
	w, answer := b.open("cam")
	defer w.Close()
	w.Write(fixture(t, "keyframe.mp4"))
	if got := <-answer; !strings.HasPrefix(got, "408 fmp4: too few bytes") {
		t.Errorf("answer = %q, want 408", got)
	}
	b.wait(t, "one second", b.whole)
}

func TestDeleteEndsTheBody(t *testing.T) {
	b := newBench(t, Config{}, 0)
	w, answer := b.open("cam")
	defer w.Close()
	w.Write(fixture(t, "keyframe.mp4"))
	b.wait(t, "one second", b.whole)
	b.mustDo("DELETE", "cam/chunk-1.m4s", nil) // a segmenter tidying up
	b.mustDo("DELETE", "cam", nil)
	if got := <-answer; got != "410 the broadcast was ended" {
		t.Errorf("answer = %q", got)
	}
	if code, _ := b.do("DELETE", "cam", nil); code != 404 {
		t.Errorf("second DELETE = %d, want 404", code)
	}
}

func TestInputsAreBounded(t *testing.T) {
	b := newBench(t, Config{MaxInputs: 1}, 0)
	b.mustDo("POST", "a", fixture(t, "keyframe.mp4"))
	if code, text := b.do("POST", "b", bytes.NewReader(fixture(t, "keyframe.mp4"))); code != 503 || !strings.Contains(text, "at most 1") {
		t.Errorf("second input = %d %s, want 503", code, text)
	}
	b.mustDo("DELETE", "a", nil)
	b.mustDo("POST", "b", fixture(t, "keyframe.mp4"))
}

func TestBucket(t *testing.T) {
	now := time.Now()
	k := newBucket(1000)
	var waited time.Duration
	for range 50 {
		d := k.take(now, 100)
		waited += d
		now = now.Add(d)
	}
	// 5000 bytes at 1000 a second, the first second's worth in one go.
	if waited != 4*time.Second {
		t.Errorf("waited %v, want 4s", waited)
	}
}

func TestKey(t *testing.T) {
	for _, tt := range []struct {
		file, key string
		seq       int64
	}{
		{"", "", -1},
		{"init.mp4", "", -1},
		{"init-stream0.m4s", "stream0", -1},
		{"chunk-stream0-00001.m4s", "stream0", 1},
		{"seg-3.m4s", "", 3},
		{"init-0.mp4", "0", -1},
		{"chunk-0-00001.m4s", "0", 1},
		{"out12.m4s", "out12", 12}, // HLS: the only rendition takes it
		{"video.cmfv", "video", -1},
		{"Streams(video).cmfv", "Streams(video)", -1},
		{"v1/init.mp4", "v1/", -1},
		{"v1/segment_000012.m4s", "v1/", 12},
		{"main-1700000000-000001.m4s", "main-1700000000", 1},
		{"x-99999999999999999999.m4s", "x", -1},
	} {
		if k, seq := key(tt.file); k != tt.key || seq != tt.seq {
			t.Errorf("key(%q) = %q, %d, want %q, %d", tt.file, k, seq, tt.key, tt.seq)
		}
	}
}

// TestSegmentsInDisorder sends every request on a connection of its own and at
// once, as ffmpeg's DASH muxer nearly does at the end.
func TestSegmentsInDisorder(t *testing.T) {
	b := newBench(t, Config{}, 0)
	header, fragments := split(t, fixture(t, "everyframe.mp4"))
	b.mustDo("PUT", "cam/init-0.mp4", header)
	b.mustDo("PUT", "cam/chunk-0-1.m4s", fragments[0])
	var wg sync.WaitGroup
	for i := len(fragments) - 1; i > 0; i-- {
		wg.Go(func() {
			if code, text := b.do("PUT", fmt.Sprintf("cam/chunk-0-%d.m4s", i+1), bytes.NewReader(fragments[i])); code != 204 {
				t.Errorf("segment %d = %d %s", i+1, code, text)
			}
		})
	}
	wg.Wait()
	b.wait(t, "one second", b.whole)
	if b.all[0].jumps != 0 {
		t.Errorf("%d jumps, want none", b.all[0].jumps)
	}
}

// TestSegmentOvertakesItsHeader sends the header after the segment.
func TestSegmentOvertakesItsHeader(t *testing.T) {
	b := newBench(t, Config{}, 0)
	header, fragments := split(t, fixture(t, "video.mp4"))
	for _, name := range []string{"first", "other", "third"} { // once with no header at all there
		done := make(chan int, 1)
		go func() {
			code, _ := b.do("PUT", "cam/chunk-"+name+"-1.m4s", bytes.NewReader(fragments[0]))
			done <- code
		}()
		b.mustDo("PUT", "cam/init-"+name+".mp4", header)
		if code := <-done; code != 204 {
			t.Errorf("the segment of %s = %d, want 204", name, code)
		}
	}
	if code, text := b.do("PUT", "dog/chunk-1-1.m4s", bytes.NewReader(fragments[0])); code != 400 || !strings.Contains(text, "before any moov") {
		t.Errorf("a segment whose header never comes = %d %s, want 400", code, text)
	}
}

// A segment that finds the rendition of a header that is still on its way to
// the demuxer does not go ahead of it.
func TestSegmentLetsItsHeaderGoFirst(t *testing.T) {
	in := &input{changed: make(chan struct{}), renditions: map[string]*rendition{}, names: map[string]int{}}
	rd, err := in.rendition("video", true, false, cmaf.DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.rendition("video", false, true, cmaf.DemuxerConfig{}); !errors.Is(err, errConflict) {
		t.Errorf("a segment before the header was taken: %v, want that it waits", err)
	}
	rd.begun = true
	if got, err := in.rendition("video", false, true, cmaf.DemuxerConfig{}); got != rd || err != nil {
		t.Errorf("a segment behind its header: %v, %v, want the rendition", got, err)
	}
}

// TestBroadcastBeginsWithAllRenditions sends both headers, then the segments of
// one and a moment later of the other: no media comes before both have tracks.
func TestBroadcastBeginsWithAllRenditions(t *testing.T) {
	b := newBench(t, Config{}, 0)
	audio, audioFragments := split(t, fixture(t, "audio.mp4"))
	video, videoFragments := split(t, fixture(t, "video.mp4"))
	b.mustDo("PUT", "cam/init-0.mp4", audio)
	b.mustDo("PUT", "cam/init-1.mp4", video)
	done := make(chan int, 1)
	go func() {
		code, _ := b.do("PUT", "cam/chunk-0-1.m4s", bytes.NewReader(audioFragments[0]))
		done <- code
	}()
	b.wait(t, "the first track", func() bool { return len(b.all) > 0 && len(b.all[0].order) == 1 })
	if b.holds(func() bool { return b.all[0].tracks["audio"].chunks > 0 }) {
		t.Error("audio came before video was there")
	}
	b.mustDo("PUT", "cam/chunk-1-1.m4s", videoFragments[0])
	if code := <-done; code != 204 {
		t.Errorf("audio = %d, want 204", code)
	}
	if !b.holds(func() bool { return b.all[0].tracks["audio"].chunks > 0 && b.all[0].tracks["video"].chunks > 0 }) {
		t.Error("not all of it came")
	}
}

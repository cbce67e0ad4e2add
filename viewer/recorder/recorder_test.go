package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
	"github.com/broadcastd/broadcastd/cmaf"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var fixtures = []string{"keyframe.mp4", "everyframe.mp4", "cmaf.mp4", "editlist.mp4", "baseoffset.mp4", "nooffset.mp4", "dash.mp4", "audio.mp4", "video.mp4"}

func fixturePath(name string) string {
	return filepath.Join("..", "..", "cmaf", "testdata", name)
}

// demux feeds data to b.
func demux(t testing.TB, data []byte, b cmaf.Broadcast) {
	t.Helper()
	d := cmaf.NewDemuxer(b, cmaf.DemuxerConfig{})
	if _, err := d.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A capture keeps the chunks of each track.
type capture struct {
	names   []string
	headers map[string]cmaf.Header
	chunks  map[string][]cmaf.Chunk
}

func (c *capture) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	if c.headers == nil {
		c.headers, c.chunks = map[string]cmaf.Header{}, map[string][]cmaf.Chunk{}
	}
	c.names = append(c.names, name)
	c.headers[name] = h
	return captureSink{c, name}, nil
}
func (c *capture) Event(cmaf.Event) error      { return nil }
func (c *capture) Discontinuity(string)        {}
func (c *capture) Anchor(cmaf.Time, time.Time) {}
func (c *capture) Close(error) error           { return nil }

type captureSink struct {
	c    *capture
	name string
}

func (s captureSink) WriteChunk(c cmaf.Chunk) error {
	c.Data = bytes.Clone(c.Data)
	s.c.chunks[s.name] = append(s.c.chunks[s.name], c)
	return nil
}
func (s captureSink) Close() error { return nil }

// captured reads data, an MP4 byte stream.
func captured(t testing.TB, data []byte) *capture {
	t.Helper()
	c := &capture{}
	demux(t, data, c)
	return c
}

// equalButMoved fails unless got is want with all times moved by one whole
// number of seconds, the earliest into the first second.
func equalButMoved(t *testing.T, got, want *capture) {
	t.Helper()
	var shift *int64
	earliest := cmaf.Time{Ticks: 1 << 40, Scale: 1}
	for _, name := range want.names {
		h := want.headers[name]
		g, w := got.chunks[name], want.chunks[name]
		if len(g) != len(w) || len(w) == 0 {
			t.Fatalf("%s: %d chunks, want %d", name, len(g), len(w))
		}
		if !bytes.Equal(got.headers[name].Init, h.Init) {
			t.Errorf("%s: another header", name)
		}
		for i := range g {
			moved := w[i].DecodeTime - g[i].DecodeTime
			if shift == nil {
				s := moved / int64(h.Timescale)
				shift = &s
			}
			if moved != *shift*int64(h.Timescale) {
				t.Fatalf("%s: chunk %d moved by %d/%d, not %d s", name, i, moved, h.Timescale, *shift)
			}
			if !slices.Equal(g[i].Samples, w[i].Samples) || !bytes.Equal(g[i].Data, w[i].Data) {
				t.Fatalf("%s: chunk %d differs", name, i)
			}
			if at := (cmaf.Time{Ticks: g[i].DecodeTime, Scale: h.Timescale}); at.Before(earliest) {
				earliest = at
			}
		}
	}
	if s := earliest.Seconds(); s < 0 || s >= 1 {
		t.Errorf("starts at %v, want it in the first second", earliest)
	}
}

// record writes data into a file and returns its path.
func record(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.mp4")
	r, err := Create(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	demux(t, data, r)
	if err := r.Close(nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecord(t *testing.T) {
	for _, name := range fixtures {
		t.Run(name, func(t *testing.T) {
			data := read(t, fixturePath(name))
			path := record(t, data)
			equalButMoved(t, captured(t, read(t, path)), captured(t, data))
		})
	}
}

// mpeg runs ffmpeg or ffprobe and returns what it printed.
func mpeg(t testing.TB, tool string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is needed as an independent reader: install ffmpeg", tool)
	}
	cmd := exec.Command(path, append([]string{"-v", "error"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// frames returns the duration, size and hash of every packet of a file, stream
// by stream in order, and the pts of each relative to the first.
func frames(t testing.TB, path string) []string {
	t.Helper()
	var out []string
	first := ""
	var base int64
	for line := range strings.Lines(mpeg(t, "ffmpeg", "-i", path, "-map", "0", "-c", "copy", "-copyts", "-f", "framemd5", "-")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var stream, dts, pts, duration, size int64
		var hash string
		fields := strings.ReplaceAll(line, ",", " ")
		if _, err := fmt.Sscan(fields, &stream, &dts, &pts, &duration, &size, &hash); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if key := fmt.Sprint(stream); key != first && len(out) == 0 {
			first, base = key, pts
		}
		if fmt.Sprint(stream) == first {
			out = append(out, fmt.Sprintf("%d %d %d %d %s", stream, pts-base, duration, size, hash))
		} else {
			out = append(out, fmt.Sprintf("%d %d %d %s", stream, duration, size, hash))
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
	return out
}

func TestRecordAsFFmpegSeesIt(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4", "audio.mp4"} {
		t.Run(name, func(t *testing.T) {
			got, want := frames(t, record(t, read(t, fixturePath(name)))), frames(t, fixturePath(name))
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A kill at any byte: what is whole stays readable, and nothing else remains.
func TestKilledAtAnyByte(t *testing.T) {
	whole := read(t, record(t, read(t, fixturePath("everyframe.mp4"))))
	edges := boxEdges(t, whole)
	cuts := map[int]bool{}
	for _, e := range edges {
		for _, d := range []int{-9, -8, -7, -1, 0, 1, 7, 8, 9, 16, 17} {
			cuts[min(max(e.at+d, 0), len(whole))] = true
		}
	}
	for at := 0; at < len(whole); at += 41 {
		cuts[at] = true
	}
	checked := map[int]bool{} // readable up to here
	path := filepath.Join(t.TempDir(), "killed.mp4")
	for at := range cuts {
		if err := os.WriteFile(path, whole[:at], 0o644); err != nil {
			t.Fatal(err)
		}
		wantEnd, wantChunks, header := 0, 0, false
		for _, e := range edges {
			if e.at > at {
				break
			}
			switch e.after {
			case "moov":
				header, wantEnd = true, e.at
			case "mdat":
				wantEnd, wantChunks = e.at, wantChunks+1
			case "mfra":
				wantEnd = e.at
			}
		}
		got, err := Recover(path)
		if !header {
			if !errors.Is(err, ErrNoHeader) || len(read(t, path)) != at {
				t.Fatalf("cut at %d: %+v, %v; want ErrNoHeader and the file as it was", at, got, err)
			}
			continue
		}
		if err != nil || got != (Recovery{Size: int64(wantEnd), Cut: int64(at - wantEnd), Chunks: wantChunks}) {
			t.Fatalf("cut at %d: %+v, %v; want %d bytes with %d chunks", at, got, err, wantEnd, wantChunks)
		}
		kept := read(t, path)
		if !bytes.Equal(kept, whole[:wantEnd]) {
			t.Fatalf("cut at %d: the file is another one", at)
		}
		if checked[wantEnd] {
			continue
		}
		checked[wantEnd] = true
		n := 0
		for _, chunks := range captured(t, kept).chunks {
			n += len(chunks)
		}
		if n != wantChunks {
			t.Fatalf("cut at %d: %d chunks are readable, want %d", at, n, wantChunks)
		}
	}
	t.Logf("%d cuts of %d bytes", len(cuts), len(whole))
}

func TestKilledFilePlays(t *testing.T) {
	whole := read(t, record(t, read(t, fixturePath("everyframe.mp4"))))
	path := filepath.Join(t.TempDir(), "killed.mp4")
	for _, at := range []int{len(whole) / 3, len(whole) / 2, len(whole)*2/3 + 5} {
		if err := os.WriteFile(path, whole[:at], 0o644); err != nil {
			t.Fatal(err)
		}
		rec, err := Recover(path)
		if err != nil {
			t.Fatal(err)
		}
		packets := strings.Count(mpeg(t, "ffprobe", "-show_entries", "packet=size", "-of", "csv=p=0", path), "\n")
		if packets != rec.Chunks { // one sample a chunk
			t.Errorf("cut at %d: ffprobe finds %d packets, want %d", at, packets, rec.Chunks)
		}
	}
}

type edge struct {
	at    int
	after string
}

// boxEdges returns where each top-level box of data ends.
func boxEdges(t testing.TB, data []byte) (edges []edge) {
	t.Helper()
	r := bytes.NewReader(data)
	for off := int64(0); off < int64(len(data)); {
		typ, n, err := boxAt(r, off, int64(len(data)))
		if err != nil || n == 0 {
			t.Fatalf("no box at byte %d: %v", off, err)
		}
		off += n
		edges = append(edges, edge{int(off), typ})
	}
	return edges
}

func TestIndex(t *testing.T) {
	data := read(t, record(t, read(t, fixturePath("keyframe.mp4"))))
	f, err := mp4.DecodeFile(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if f.Mfra == nil || f.Mfra.Tfra == nil || len(f.Mfra.Tfra.Entries) != 3 { // 25 pictures, a GOP of 12
		t.Fatalf("mfra %+v, want one tfra with 3 entries", f.Mfra)
	}
	for _, e := range f.Mfra.Tfra.Entries {
		if typ, _, _ := boxAt(bytes.NewReader(data), int64(e.MoofOffset), int64(len(data))); typ != "moof" {
			t.Errorf("entry points to %q at %d, want a moof", typ, e.MoofOffset)
		}
	}
	if got := data[len(data)-4:]; !bytes.Equal(got, []byte{0, 0, 0, byte(f.Mfra.Size())}) {
		t.Errorf("mfro says %x, mfra has %d bytes", got, f.Mfra.Size())
	}
}

// testHeader returns a real header of a kind, told apart by its timescale.
func testHeader(t testing.TB, kind cmaf.Kind) cmaf.Header {
	t.Helper()
	name := "video.mp4"
	if kind == cmaf.KindAudio {
		name = "audio.mp4"
	}
	for _, h := range captured(t, read(t, fixturePath(name))).headers {
		return h
	}
	return cmaf.Header{}
}

// other returns h with another Init, as after a codec change.
func other(t testing.TB, h cmaf.Header) cmaf.Header {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(h.Init))
	if err != nil {
		t.Fatal(err)
	}
	f.Moov.Trak.Tkhd.Layer = 7
	var b bytes.Buffer
	if err := f.Encode(&b); err != nil {
		t.Fatal(err)
	}
	o, err := cmaf.ParseHeader(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(o.Init, h.Init) {
		o.Init = b.Bytes()
	}
	return o
}

// second returns a chunk that starts at a second and a half of it lasts.
func second(h cmaf.Header, at float64, rap bool) cmaf.Chunk {
	flags := cmaf.FlagsNonSync
	if rap {
		flags = cmaf.FlagsSync
	}
	return cmaf.Chunk{
		DecodeTime: int64(at * float64(h.Timescale)), RAP: rap, Data: []byte{1, 2, 3, 4},
		Samples: []cmaf.Sample{{Duration: h.Timescale / 2, Size: 4, Flags: flags}},
	}
}

func add(t testing.TB, r *Recorder, name string, h cmaf.Header) cmaf.Sink {
	t.Helper()
	s, err := r.AddTrack(name, h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t testing.TB, s cmaf.Sink, chunks ...cmaf.Chunk) {
	t.Helper()
	for _, c := range chunks {
		if err := s.WriteChunk(c); err != nil {
			t.Fatal(err)
		}
	}
}

// dump lists what a file holds: "video: 0.5 1.0; audio: …", in seconds.
func dump(t testing.TB, path string) string {
	t.Helper()
	c := captured(t, read(t, path))
	var parts []string
	for _, name := range c.names {
		var b strings.Builder
		fmt.Fprintf(&b, "%s:", name)
		for _, chunk := range c.chunks[name] {
			fmt.Fprintf(&b, " %.1f", float64(chunk.DecodeTime)/float64(c.headers[name].Timescale))
		}
		parts = append(parts, b.String())
	}
	return strings.Join(parts, "; ")
}

func TestMoreThanOneFile(t *testing.T) {
	v, a := testHeader(t, cmaf.KindVideo), testHeader(t, cmaf.KindAudio)
	for _, tt := range []struct {
		name string
		feed func(t *testing.T, r *Recorder)
		want []string
	}{
		{
			"a new video header cuts at once",
			func(t *testing.T, r *Recorder) {
				vs, as := add(t, r, "video", v), add(t, r, "audio", a)
				write(t, vs, second(v, 100.5, true))
				write(t, as, second(a, 100.5, true))
				vs.Close()
				vs = add(t, r, "video", other(t, v))
				write(t, as, second(a, 101, true))
				write(t, vs, second(v, 101, true))
				write(t, as, second(a, 101.5, true))
			},
			[]string{"video: 0.5; audio: 0.5 1.0", "video: 1.0; audio: 1.5"},
		},
		{
			"a new audio header waits for a picture to start with",
			func(t *testing.T, r *Recorder) {
				vs, as := add(t, r, "video", v), add(t, r, "audio", a)
				write(t, vs, second(v, 100, true))
				write(t, as, second(a, 100, true))
				as = add(t, r, "audio", other(t, a))
				write(t, as, second(a, 100.5, true))
				write(t, vs, second(v, 100.5, false))
				write(t, as, second(a, 101, true))
				write(t, vs, second(v, 101, true))
				write(t, as, second(a, 101.5, true))
			},
			[]string{"video: 0.0 0.5; audio: 0.0", "video: 1.0; audio: 0.5 1.0 1.5"},
		},
		{
			"a picture to start with is not waited for without end",
			func(t *testing.T, r *Recorder) {
				vs, as := add(t, r, "video", v), add(t, r, "audio", a)
				write(t, vs, second(v, 100, true))
				write(t, as, second(a, 100, true))
				as = add(t, r, "audio", other(t, a))
				for i := range 6 {
					write(t, as, second(a, 100.5+float64(i)/2, true))
				}
			},
			[]string{"video: 0.0; audio: 0.0", "video:; audio: 0.5 1.0 1.5 2.0 2.5 3.0"},
		},
		{
			"a track that comes later",
			func(t *testing.T, r *Recorder) {
				vs := add(t, r, "video", v)
				write(t, vs, second(v, 100, true), second(v, 100.5, false))
				as := add(t, r, "audio", a)
				write(t, as, second(a, 100.5, true))
				write(t, vs, second(v, 101, true))
			},
			[]string{"video: 0.0 0.5", "video: 1.0; audio: 0.5"},
		},
		{
			"the same header goes on",
			func(t *testing.T, r *Recorder) {
				vs := add(t, r, "video", v)
				write(t, vs, second(v, 100, true))
				vs.Close()
				vs = add(t, r, "video", v)
				write(t, vs, second(v, 105, true))
			},
			[]string{"video: 0.0 5.0"},
		},
		{
			"a track that brings nothing is waited for 2 s of media",
			func(t *testing.T, r *Recorder) {
				vs := add(t, r, "video", v)
				add(t, r, "audio", a)
				for i := range 5 {
					write(t, vs, second(v, 100+float64(i)/2, i == 0))
				}
				if r.Chunks() != 5 {
					t.Errorf("%d chunks written, want 5", r.Chunks())
				}
			},
			[]string{"video: 0.0 0.5 1.0 1.5 2.0; audio:"},
		},
		{
			"a track that starts before the recording does",
			func(t *testing.T, r *Recorder) {
				vs, as := add(t, r, "video", v), add(t, r, "audio", a)
				for i := range 5 {
					write(t, vs, second(v, 100+float64(i)/2, true))
				}
				write(t, as, second(a, 99.5, true), second(a, 100, true))
				write(t, vs, second(v, 102.5, true))
			},
			[]string{"video: 0.0 0.5 1.0 1.5 2.0; audio:", "video: 3.5; audio: 0.5 1.0"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out.mp4")
			r, err := Create(path, Config{})
			if err != nil {
				t.Fatal(err)
			}
			tt.feed(t, r)
			if err := r.Close(nil); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Files() {
				got = append(got, dump(t, f))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestNextFileOverwritesNothing(t *testing.T) {
	v := testHeader(t, cmaf.KindVideo)
	dir := t.TempDir()
	taken := filepath.Join(dir, "out.2.mp4")
	if err := os.WriteFile(taken, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "out.mp4")
	if err := os.WriteFile(path, []byte("from before"), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Create(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	write(t, add(t, r, "video", v), second(v, 0, true))
	write(t, add(t, r, "video", other(t, v)), second(v, 1, true))
	if err := r.Close(nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{path, filepath.Join(dir, "out.3.mp4")}; !slices.Equal(r.Files(), want) {
		t.Errorf("files %v, want %v", r.Files(), want)
	}
	if got := string(read(t, taken)); got != "mine" {
		t.Errorf("%s holds %q", taken, got)
	}
	if got := dump(t, path); got != "video: 0.0" {
		t.Errorf("%s holds %s: it was not emptied", path, got)
	}
	if r.Duration() != 1500*time.Millisecond {
		t.Errorf("duration %v, want 1.5s", r.Duration())
	}
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	r := NewWriter(&out, Config{})
	data := read(t, fixturePath("keyframe.mp4"))
	demux(t, data, r)
	v := testHeader(t, cmaf.KindVideo)
	err := add(t, r, "video", other(t, v)).WriteChunk(second(v, 100, true))
	if !errors.Is(err, ErrHeaderChanged) {
		t.Errorf("another header: %v, want ErrHeaderChanged", err)
	}
	if err := r.Close(nil); !errors.Is(err, ErrHeaderChanged) {
		t.Errorf("Close: %v, want ErrHeaderChanged", err)
	}
	equalButMoved(t, captured(t, out.Bytes()), captured(t, data))
}

func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	got := make(chan []byte)
	go func() {
		f, err := os.Open(path)
		if err != nil {
			got <- nil
			return
		}
		defer f.Close()
		b, _ := io.ReadAll(f)
		got <- b
	}()
	r, err := Create(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, fixturePath("keyframe.mp4"))
	demux(t, data, r)
	if err := r.Close(nil); err != nil {
		t.Fatal(err)
	}
	equalButMoved(t, captured(t, <-got), captured(t, data))
}

func TestNothingRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.mp4")
	r, err := Create(path, Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := add(t, r, "video", testHeader(t, cmaf.KindVideo))
	if err := r.Close(nil); !errors.Is(err, ErrNothing) {
		t.Errorf("Close: %v, want ErrNothing", err)
	}
	if err := r.Close(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Close again: %v, want ErrClosed", err)
	}
	if err := s.WriteChunk(cmaf.Chunk{}); err == nil {
		t.Error("a write after Close worked")
	}
	if _, err := Create(filepath.Join(path, "below a file"), Config{}); err == nil {
		t.Error("Create below a file worked")
	}
}

// A fakeFS holds files in memory and fails on demand.
type fakeFS struct {
	files map[string]*fakeFile
	room  int // bytes that still fit; below 0: any number
	sync  func() error
}

type fakeFile struct {
	fs     *fakeFS
	mu     sync.Mutex // syncs come from another goroutine than writes
	data   []byte
	syncs  []int // size at each sync
	writes int
	closed bool
}

func (fs *fakeFS) create(path string, exclusive bool) (file, bool, error) {
	f := &fakeFile{fs: fs}
	fs.files[path] = f
	return f, true, nil
}

func (f *fakeFile) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if f.fs.room >= 0 && len(b) > f.fs.room {
		f.data = append(f.data, b[:f.fs.room]...)
		return f.fs.room, &os.PathError{Op: "write", Path: "out.mp4", Err: syscall.ENOSPC}
	}
	f.fs.room -= min(len(b), max(f.fs.room, 0))
	f.data = append(f.data, b...)
	return len(b), nil
}

func (f *fakeFile) Sync() error {
	if f.fs.sync != nil {
		if err := f.fs.sync(); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs = append(f.syncs, len(f.data))
	return nil
}

// state returns how much was written, and how much of it was synced, how often.
func (f *fakeFile) state() (written, synced, count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.syncs); n > 0 {
		synced = f.syncs[n-1]
	}
	return len(f.data), synced, len(f.syncs)
}

// Truncate and Close may come while Sync runs, as with a file of the system.
func (f *fakeFile) Truncate(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = f.data[:n]
	return nil
}

func (f *fakeFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func TestDiskFull(t *testing.T) {
	v := testHeader(t, cmaf.KindVideo)
	for _, room := range []int{0, 100, 800, 1000, 1003} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := &fakeFS{files: map[string]*fakeFile{}, room: room}
				r, err := create("out.mp4", Config{}, fs)
				if err != nil {
					t.Fatal(err)
				}
				s := add(t, r, "video", v)
				for i := 0; i < 20 && err == nil; i++ {
					err = s.WriteChunk(second(v, float64(i)/2, true))
					time.Sleep(500 * time.Millisecond)
				}
				if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full; out.mp4 is whole up to byte") {
					t.Fatalf("%v, want ENOSPC in a sentence", err)
				}
				if again := s.WriteChunk(second(v, 30, true)); again != err {
					t.Errorf("the next write: %v, want the same", again)
				}
				if closed := r.Close(nil); closed != err {
					t.Errorf("Close: %v, want the same", closed)
				}
				f := fs.files["out.mp4"]
				if !f.closed {
					t.Error("the file is open")
				}
				if len(f.data) > 0 {
					for _, e := range boxEdges(t, f.data) { // fails at a torn box
						if e.after == "mfra" {
							t.Error("an index after an error")
						}
					}
				}
			})
		})
	}
}

func TestSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testHeader(t, cmaf.KindVideo)
		fs := &fakeFS{files: map[string]*fakeFile{}, room: -1}
		r, err := create("out.mp4", Config{}, fs)
		if err != nil {
			t.Fatal(err)
		}
		s, f := add(t, r, "video", v), fs.files["out.mp4"]
		unsynced := func() int { // of what came
			synctest.Wait()
			_, synced, _ := f.state()
			return int(r.part.size) - synced
		}
		write(t, s, second(v, 0, true))
		unsynced()
		write(t, s, second(v, 0.25, false))
		if unsynced() == 0 {
			t.Error("synced at once")
		}
		time.Sleep(999 * time.Millisecond)
		if unsynced() == 0 {
			t.Error("synced before its time")
		}
		time.Sleep(time.Millisecond)
		if n := unsynced(); n != 0 {
			t.Errorf("%d bytes not synced after 1 s", n)
		}
		write(t, s, second(v, 0.5, false))
		before := int(r.part.size)
		write(t, s, second(v, 1, true)) // a new group: what came before is synced now
		synctest.Wait()
		if _, got, _ := f.state(); got < before {
			t.Errorf("synced up to %d at the end of a group, want %d", got, before)
		}
		time.Sleep(time.Second)
		if n := unsynced(); n != 0 {
			t.Errorf("%d bytes not synced a second after", n)
		}
		_, _, n := f.state()
		time.Sleep(time.Minute)
		if _, _, more := f.state(); more != n {
			t.Errorf("%d syncs while nothing was written", more-n)
		}
		write(t, s, second(v, 1.5, false))
		if err := r.Close(nil); err != nil {
			t.Fatal(err)
		}
		if n := unsynced(); n != 0 {
			t.Errorf("%d bytes not synced after Close", n)
		}
	})
}

// TestBatches: chunks wait for each other, but no more than batch bytes do, and a
// file that is not synced has each at once.
func TestBatches(t *testing.T) {
	v := testHeader(t, cmaf.KindVideo)
	for _, every := range []time.Duration{0, -1} {
		fs := &fakeFS{files: map[string]*fakeFile{}, room: -1}
		r, err := create("out.mp4", Config{SyncEvery: every}, fs)
		if err != nil {
			t.Fatal(err)
		}
		s, f := add(t, r, "video", v), fs.files["out.mp4"]
		most := 0
		for i := range 100 {
			c := second(v, float64(i)/30, i == 0)
			c.Data = make([]byte, 10_000)
			c.Samples[0].Size = 10_000
			write(t, s, c)
			written, _, _ := f.state()
			if every < 0 && written != int(r.part.size) {
				t.Fatalf("%d of %d bytes are written", written, r.part.size)
			}
			most = max(most, int(r.part.size)-written)
		}
		if every == 0 && (most < batch-20_000 || most >= batch) {
			t.Errorf("%d bytes waited, want just below %d", most, batch)
		}
		if n := f.writes; every == 0 && n > 12 {
			t.Errorf("%d writes of a megabyte, want some of %d bytes", n, batch)
		}
		if err := r.Close(nil); err != nil {
			t.Fatal(err)
		}
		boxEdges(t, f.data) // fails at a torn box
	}
}

// A disk that hangs in a sync does not hold up writes; one that fails ends the
// recording.
func TestSyncHangsAndFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := testHeader(t, cmaf.KindVideo)
		release := make(chan error, 1)
		fs := &fakeFS{files: map[string]*fakeFile{}, room: -1, sync: func() error { return <-release }}
		r, err := create("out.mp4", Config{}, fs)
		if err != nil {
			t.Fatal(err)
		}
		s := add(t, r, "video", v)
		write(t, s, second(v, 0, true))
		time.Sleep(time.Second)
		for i := range 10 {
			write(t, s, second(v, 0.5+float64(i)/2, i%2 == 1))
			time.Sleep(500 * time.Millisecond)
		}
		fault := errors.New("I/O error")
		release <- fault
		synctest.Wait()
		if err := s.WriteChunk(second(v, 9, true)); !errors.Is(err, fault) {
			t.Errorf("write after a sync failed: %v, want %v", err, fault)
		}
		close(release)
		if err := r.Close(nil); !errors.Is(err, fault) {
			t.Errorf("Close: %v, want %v", err, fault)
		}
	})
}

func FuzzScan(f *testing.F) {
	whole := read(f, record(f, read(f, fixturePath("keyframe.mp4"))))
	f.Add(whole)
	f.Add(whole[:len(whole)-9])
	f.Add([]byte("\x00\x00\x00\x01moov\x00\x00\x00\x00\x00\x00\x00\x10"))
	f.Fuzz(func(t *testing.T, b []byte) {
		end, chunks, err := scan(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if end < 8 || end > int64(len(b)) {
			t.Fatalf("end %d of %d bytes", end, len(b))
		}
		again, n, err := scan(bytes.NewReader(b[:end]), end)
		if err != nil || again != end || n != chunks {
			t.Fatalf("after the cut: %d bytes, %d chunks, %v; before: %d, %d", again, n, err, end, chunks)
		}
	})
}

func BenchmarkWriteChunk(b *testing.B) {
	h := testHeader(b, cmaf.KindVideo)
	r, err := Create(filepath.Join(b.TempDir(), "out.mp4"), Config{SyncEvery: -1})
	if err != nil {
		b.Fatal(err)
	}
	s := add(b, r, "video", h)
	c := second(h, 0, true)
	c.Data = make([]byte, 16<<10) // one frame at 4 Mb/s and 30 fps
	c.Samples[0].Size = 16 << 10
	b.SetBytes(int64(c.Size()))
	for i := 0; b.Loop(); i++ {
		c.DecodeTime = int64(i) * int64(h.Timescale) / 30
		if i%20000 == 19999 {
			b.StopTimer()
			if err := os.Truncate(r.Files()[0], 0); err != nil { // O_APPEND goes on from there
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if err := s.WriteChunk(c); err != nil {
			b.Fatal(err)
		}
	}
}

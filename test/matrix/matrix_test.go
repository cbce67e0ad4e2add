package matrix_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

var (
	all    = flag.Bool("matrix", false, "run all rows, not the core alone")
	update = flag.Bool("update", false, "write the table in docs/ingest.md")
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

// A row is one way to send one kind of media.
type row struct {
	protocol string // as the table calls it
	clip     clip
	core     bool // runs with `make test` too
	// send publishes the clip as the broadcast name, to the end, and returns a
	// file with what it sent, byte for byte and with its times.
	send func(w *world, name, file string) (sent string)
	// relayed: another server lies between, which begins where it likes and may
	// write pictures in another way. What they decode to is compared then.
	relayed bool
}

func (r row) String() string { return r.protocol + "/" + r.clip.String() }

// rows are the matrix.
func rows() []row { return slices.Concat(rtmpRows(), srtRows(), mediaMTXRows()) }

// literal is a text as a regular expression.
func literal(text string) *regexp.Regexp { return regexp.MustCompile(regexp.QuoteMeta(text)) }

// A world is what the rows share.
type world struct {
	*testing.T
	d   *harness.Daemon
	dir string
}

// A result is what a row came to, for the table.
type result struct {
	row
	video, audio int // packets recorded, all that were sent
	skew         time.Duration
	codecs       []string
	failed       bool
}

// TestMatrix runs the rows.
func TestMatrix(t *testing.T) {
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "1s"}})
	var mu sync.Mutex
	var results []result
	t.Run("rows", func(t *testing.T) {
		for i, r := range rows() {
			if !*all && !r.core {
				continue
			}
			t.Run(r.String(), func(t *testing.T) {
				t.Parallel()
				w := &world{t, d, t.TempDir()}
				res := w.run(r, fmt.Sprintf("row%d", i))
				mu.Lock()
				defer mu.Unlock()
				results = append(results, res)
			})
		}
	})
	if *all && *update {
		writeTable(t, results)
	}
}

// The bounds that every row is held to.
const (
	maxSkew = 20 * time.Millisecond
	// jitter is how far a packet may move against the others of its track:
	// protocols round times, to a millisecond at worst.
	jitter = 2 * time.Millisecond
)

func (w *world) run(r row, name string) result {
	w.Helper()
	res := result{row: r, failed: true}
	file := r.clip.file(w.T)
	out := filepath.Join(w.dir, "recorded.mp4")
	rec := w.record(name, out)
	stop := w.watchCatalog(name)
	sent := r.send(w, name, file)
	tracks := stop()
	if err := rec.Wait(15 * time.Second); err != nil {
		w.Fatalf("record: %v\n%s", err, rec.Log())
	}
	if !strings.Contains(rec.Log(), ", no gap)") {
		w.Errorf("record said %q, want no gap", rec.Log())
	}
	want, got := probe(w.T, sent), probe(w.T, out)
	if len(got) != len(want) {
		w.Fatalf("%d streams were recorded, %d were sent", len(got), len(want))
	}
	for i := range want {
		if r.relayed {
			if want[i].kind == "video" {
				got[i], want[i] = pictures(w.T, out, got[i]), pictures(w.T, sent, want[i])
			}
			want[i] = aligned(w.T, got[i], want[i])
		}
		compare(w.T, got[i], want[i])
		if want[i].kind == "video" {
			res.video += len(got[i].packets)
		} else {
			res.audio += len(got[i].packets)
		}
	}
	res.skew = skew(w.T, got, want)
	if res.skew.Abs() > maxSkew {
		w.Errorf("sound moved by %v against the picture, at most %v is allowed", res.skew, maxSkew)
	}
	res.codecs = w.checkCodecs(tracks, want)
	res.failed = w.Failed()
	return res
}

// record records the broadcast name, which is not there yet, to its end.
func (w *world) record(name, out string) *harness.Proc {
	w.Helper()
	return w.command("record", "--relay", "moqt://"+w.d.MoQ, "--cert-sha256", w.d.CertHash(w.T), "--namespace", "stream/local/"+name, "--output", out)
}

// compare holds what was recorded of one stream to what was sent.
func compare(t *testing.T, got, want stream) {
	t.Helper()
	if len(got.packets) != len(want.packets) {
		t.Errorf("%s: %d packets were recorded, %d were sent", want.name(), len(got.packets), len(want.packets))
		return
	}
	for i, g := range got.packets {
		w := want.packets[i]
		if g.hash != w.hash {
			t.Errorf("%s: packet %d is not the one that was sent", want.name(), i)
			return
		}
		moved := (g.pts - got.packets[0].pts) - (w.pts - want.packets[0].pts)
		if moved.Abs() > jitter {
			t.Errorf("%s: packet %d moved by %v against the first", want.name(), i, moved)
			return
		}
		if want.kind == "video" && g.key != w.key {
			t.Errorf("%s: packet %d is a key frame: %t, it was sent as %t", want.name(), i, g.key, w.key)
			return
		}
	}
}

// skew returns how far sound moved against the picture, at the end that is worse.
func skew(t *testing.T, got, want []stream) (worst time.Duration) {
	t.Helper()
	first := func(list []stream, kind string) (stream, bool) {
		i := slices.IndexFunc(list, func(s stream) bool { return s.kind == kind })
		if i < 0 {
			return stream{}, false
		}
		return list[i], true
	}
	gv, ok1 := first(got, "video")
	ga, ok2 := first(got, "audio")
	wv, ok3 := first(want, "video")
	wa, ok4 := first(want, "audio")
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return 0
	}
	for _, at := range []func(stream) time.Duration{
		func(s stream) time.Duration { return s.packets[0].pts },
		func(s stream) time.Duration { return s.packets[len(s.packets)-1].pts },
	} {
		if moved := (at(ga) - at(gv)) - (at(wa) - at(wv)); moved.Abs() > worst.Abs() {
			worst = moved
		}
	}
	return worst
}

// A catalogTrack is one of what the daemon says that it has.
type catalogTrack struct{ Name, Role, Codec string }

// watchCatalog asks for a broadcast's tracks until it is told to stop, and
// returns the most that it saw.
func (w *world) watchCatalog(name string) (stop func() []catalogTrack) {
	ctx, cancel := context.WithCancel(w.Context())
	seen := make(chan []catalogTrack, 1)
	go func() {
		var most []catalogTrack
		defer func() { seen <- most }()
		for ctx.Err() == nil {
			if tracks, err := w.catalog(ctx, name); err == nil && len(tracks) >= len(most) {
				most = tracks
			}
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() []catalogTrack { cancel(); return <-seen }
}

func (w *world) catalog(ctx context.Context, name string) ([]catalogTrack, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.d.HTTP+"/api/v1/broadcasts", nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var list struct {
		Broadcasts []struct {
			Namespace string
			Tracks    []catalogTrack
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return nil, err
	}
	for _, b := range list.Broadcasts {
		if b.Namespace == "stream/local/"+name {
			return b.Tracks, nil
		}
	}
	return nil, errors.New("not there")
}

// checkCodecs holds the catalog's codec strings to what ffprobe says of what was
// sent, and returns them.
func (w *world) checkCodecs(tracks []catalogTrack, want []stream) (codecs []string) {
	w.Helper()
	if len(tracks) != len(want) {
		w.Errorf("the catalog has %+v, %d streams were sent", tracks, len(want))
		return nil
	}
	tracks = slices.Clone(tracks)
	for _, s := range want {
		i := slices.IndexFunc(tracks, func(c catalogTrack) bool { return c.Role == s.kind && matches(c.Codec, s.codecs) })
		if i < 0 {
			w.Errorf("the catalog has %+v, want %s", tracks, s.codecs)
			continue
		}
		codecs = append(codecs, tracks[i].Codec)
		tracks = slices.Delete(tracks, i, i+1)
	}
	return codecs
}

// matches reports whether a codec string has the parts of want, of which the
// last is its end where there is more than one.
func matches(codec, want string) bool {
	head, tail, both := strings.Cut(want, "*")
	return strings.HasPrefix(codec, head) && (!both && codec == head || both && strings.HasSuffix(codec, tail))
}

const (
	tableFile  = "docs/ingest.md"
	tableBegin = "<!-- matrix: written by make matrix -->\n"
	tableEnd   = "<!-- end of matrix -->\n"
)

// writeTable writes the results into the documentation.
func writeTable(t *testing.T, results []result) {
	t.Helper()
	slices.SortStableFunc(results, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.clip.String(), b.clip.String()))
	})
	var b strings.Builder
	b.WriteString(tableBegin)
	b.WriteString("| protocol | media | pictures | audio frames | A/V skew | catalog |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		verdict := func(n int) string {
			switch {
			case r.failed:
				return "**not exact**"
			case n == 0:
				return "–"
			}
			if r.relayed {
				return fmt.Sprintf("%d in a row", n)
			}
			return fmt.Sprintf("all %d", n)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f ms | %s |\n", r.protocol, r.clip, verdict(r.video), verdict(r.audio),
			float64(r.skew.Abs().Microseconds())/1000, strings.Join(r.codecs, ", "))
	}
	b.WriteString(tableEnd)
	name := filepath.Join(harness.Root(), tableFile)
	old, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(old), tableBegin)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", tableFile)
	}
	if err := os.WriteFile(name, []byte(before+b.String()+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

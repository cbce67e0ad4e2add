package e2e_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/test/harness"
	"github.com/broadcastd/broadcastd/viewer"
)

// dialMoQ opens a session to d that ends with the test.
func dialMoQ(t *testing.T, d *harness.Daemon, scheme string) *moqt.Session {
	t.Helper()
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := transport.Dial(ctx, scheme+"://"+d.MoQ, transport.DialConfig{CertSHA256: [][]byte{pin}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := moqt.NewSession(conn, moqt.Config{Authority: "localhost", Path: "/"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// A boxwise publishes a file as a simple client does: one track, each box an
// object of its own, the first of priority 0 and the others of priority 1.
type boxwise struct{ tr *track.Track }

func (b boxwise) Track(name string) (*track.Track, bool) {
	return b.tr, name == viewer.SingleTrack
}

// run sends the boxes of a file, with a pause after each mdat.
func (b boxwise) run(t *testing.T, file string, wait time.Duration) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
		return
	}
	var w *track.SubgroupWriter
	for id := uint64(0); len(data) > 0; id++ {
		size := binary.BigEndian.Uint32(data)
		box := data[:size]
		data = data[size:]
		if id < 2 {
			if w != nil {
				err = w.Close()
			}
			if err == nil {
				w, err = b.tr.Subgroup(track.SubgroupHeader{Subgroup: id, Priority: uint8(id), HasPriority: true, FirstObject: true, EndOfGroup: id == 1})
			}
		}
		if err == nil {
			err = w.WriteObject(track.Object{ID: id, Payload: box})
		}
		if err != nil {
			t.Error(err)
			return
		}
		if string(box[4:8]) == "mdat" {
			pause(t, wait)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	b.tr.End(track.DoneTrackEnded, "the file has ended")
}

// TestSimpleClient publishes as the simplest clients do. Whoever records finds
// a catalog and every frame; whoever reads the single track gets the header
// first, also late.
func TestSimpleClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "source.mp4"), filepath.Join(dir, "out.mp4")
	picture := harness.TestPicture{Duration: 4 * time.Second, BFrames: 2, Fast: true}
	if err := harness.FFmpeg(t, append(picture.Args(), append(harness.FMP4(), source)...)...).Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	d := harness.Start(t, harness.Options{})
	rec := command(t, append([]string{"record", "--namespace", "stream/local/simple", "--output", out}, relayURL(t, d, "moqt")...)...)
	ns := track.MustNamespace("stream", "local", "simple")
	pub := boxwise{track.New(track.Name{Namespace: ns, Name: viewer.SingleTrack}, track.Info{}, track.Config{})}
	if _, err := dialMoQ(t, d, "moqt").Announce(t.Context(), ns, pub); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		pub.run(t, source, 100*time.Millisecond) // a fragment lasts about as long
	}()
	defer func() { <-sent }()
	d.WaitLive(t, "stream/local/simple", 5*time.Second)
	pause(t, time.Second) // a late viewer
	s, err := viewer.NewSingle(dialMoQ(t, d, "https"), ns, viewer.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var chunks, inits int
	err = s.Run(t.Context(), func(c viewer.SingleChunk) error {
		chunks++
		if c.Init {
			inits++
		}
		if first := chunks == 1; first != c.Init || c.Init != (c.Priority == 0) {
			t.Errorf("chunk %d: init %t with priority %d", chunks, c.Init, c.Priority)
		}
		if off := time.Since(time.UnixMicro(c.Timestamp)).Abs(); off > time.Minute {
			t.Errorf("chunk %d has the time %v", chunks, time.UnixMicro(c.Timestamp))
		}
		return nil
	})
	if err != nil || chunks < 20 || inits != 1 {
		t.Errorf("%d chunks, %d of them headers, then %v", chunks, inits, err)
	}
	if err := rec.Wait(10 * time.Second); err != nil {
		t.Fatalf("record: %v\n%s", err, rec.Log())
	}
	for _, kind := range []string{"v", "a"} {
		if diff := difference(packets(t, out, kind), packets(t, source, kind)); diff != "" {
			t.Errorf("stream %s: %s\n%s", kind, diff, rec.Log())
		}
	}
}

package mediamtx

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestParse reads a stream as MediaMTX writes them: byte for byte from the
// comments of its source, draft-18 section 11.4.2.
func TestParse(t *testing.T) {
	plain := []byte{0x30, 1, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 3}
	withTime := []byte{0x71, 2, 7, 0, 3, 0x06, 0x83, 0xe8, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 3}
	for _, tt := range []struct {
		name  string
		b     []byte
		alias uint64
	}{{"without properties", plain, 1}, {"with a timestamp", withTime, 2}} {
		alias, payload, err := parse(tt.b)
		if err != nil || alias != tt.alias || string(payload) != "hello" {
			t.Errorf("%s: parse = %d, %q, %v, want %d, hello", tt.name, alias, payload, err, tt.alias)
		}
		for n := range len(tt.b) - len("\x00\x00\x03") - 1 {
			if alias, payload, err := parse(tt.b[:n]); err == nil {
				t.Errorf("%s: %d bytes were taken for %d, %q", tt.name, n, alias, payload)
			}
		}
		if !isSubgroup(tt.b[0]) {
			t.Errorf("%s: not taken for a subgroup", tt.name)
		}
	}
	setup, err := wire.AppendMessage(nil, wire.Setup{})
	if err != nil || isSubgroup(setup[0]) {
		t.Errorf("SETUP %x was taken for a subgroup, %v", setup, err)
	}
}

func TestCatalog(t *testing.T) {
	b, err := catalog([]*outbound{{Track: Track{Video: true}}, {}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version int
		Tracks  []struct {
			Name, Packaging, Codec string
			Samplerate             int
		}
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Tracks) != 2 || got.Tracks[0].Codec != "avc3.64001f" || got.Tracks[0].Name != "0" ||
		got.Tracks[1].Codec != "mp4a.40.2" || got.Tracks[1].Samplerate != 48000 || got.Tracks[1].Packaging != "loc" {
		t.Errorf("catalog = %s", b)
	}
}

func TestConfigure(t *testing.T) {
	dir := t.TempDir()
	s, err := Configure(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"moqQUICAddress: " + s.Addr, "pprofAddress: " + s.Admin, "rtmpAddress: " + s.RTMP, "rtsp: false", "all_others:"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the configuration lacks %q:\n%s", want, b)
		}
	}
	if !strings.HasPrefix(s.Ready, s.Addr) {
		t.Errorf("Ready = %q, want something with %s", s.Ready, s.Addr)
	}
}

// TestCopyTree: files of the module cache cannot be written; their copies can.
func TestCopyTree(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	if err := os.MkdirAll(filepath.Join(from, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "a", "b"), []byte("text"), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(to, from); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(to, "a", "b")
	if b, err := os.ReadFile(name); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode()&0o200 == 0 {
		t.Errorf("%v, %v, want a file that can be written", info.Mode(), err)
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/broadcastd/broadcastd"

// mayImport is the layout: media flows one way, and a package imports what its
// row says and nothing else of ours. A new package gets a row when it is added.
var mayImport = map[string]string{
	// Floor 0
	"moqt/wire":    "",
	"moqt/wire16":  "moqt/wire",
	"moqt/timers":  "",
	"cmaf":         "cmaf/codec",
	"cmaf/codec":   "",
	"hls/playlist": "",

	// Floor 1
	"cmaf/catalog": "cmaf cmaf/codec",
	"cmaf/loc":     "cmaf cmaf/codec",
	"cmaf/cenc":    "cmaf cmaf/codec",
	"cmaf/segment": "cmaf cmaf/codec",
	"moqt/track":   "moqt/wire",

	// Floor 2
	"moqt/conn":   "moqt/wire",
	"moqt/egress": "moqt/conn moqt/track moqt/wire",
	"moqt":        "moqt/conn moqt/egress moqt/timers moqt/track moqt/wire moqt/wire16",

	// Floor 3
	"moqt/transport":           "moqt moqt/wire", // the codes of its errors
	"moqt/client":              "moqt moqt/track moqt/wire",
	"moqt/relay":               "moqt moqt/timers moqt/track moqt/wire",
	"moqt/moqttest":            "moqt moqt/track moqt/wire",
	"moqt/relay/sim":           "moqt moqt/relay moqt/track moqt/wire",
	"ingest":                   "cmaf",
	"ingest/fmp4":              "cmaf ingest",
	"ingest/rtmp":              "cmaf cmaf/codec ingest",
	"ingest/whip":              "cmaf cmaf/codec ingest",
	"ingest/mpegts":            "cmaf cmaf/codec",
	"ingest/srt":               "cmaf ingest ingest/mpegts",
	"hls/pull":                 "cmaf hls/playlist ingest ingest/mpegts",
	"publisher":                "cmaf cmaf/catalog cmaf/loc cmaf/cenc moqt/track",
	"viewer":                   "cmaf cmaf/catalog cmaf/loc cmaf/cenc moqt/track",
	"viewer/recorder":          "cmaf cmaf/segment",
	"hls":                      "cmaf cmaf/segment hls/playlist",
	"dash":                     "cmaf cmaf/segment hls/playlist",
	"client":                   "cmaf cmaf/catalog moqt moqt/client moqt/track moqt/transport moqt/wire publisher viewer",
	"internal/store":           "",
	"internal/auth":            "internal/store moqt/track",
	"internal/control":         "internal/store internal/auth internal/control/sealing",
	"internal/control/sealing": "",
	"internal/history":         "cmaf/segment moqt/track",
	"internal/certs":           "",
	"internal/config":          "",
	"internal/demo":            "cmaf",
	"internal/directory":       "cmaf/catalog moqt/track",
	"internal/live":            "cmaf cmaf/catalog ingest moqt/conn moqt/track",
	"internal/safenet":         "",
	"internal/web":             "",
	"internal/api":             "internal/api/edge internal/auth internal/control",
	"internal/api/edge":        "",

	"internal/store/boltstore":     "internal/store",
	"internal/store/memstore":      "internal/store",
	"internal/store/storetest":     "internal/store",
	"internal/control/controltest": "internal/auth internal/control internal/store/memstore",

	"internal/compat/streams":  "cmaf cmaf/catalog ingest moqt/track viewer",
	"internal/compat/request":  "internal/control",
	"internal/compat/trpc":     "internal/auth internal/compat/request internal/control internal/live",
	"internal/compat/sessions": "internal/compat/request internal/control internal/live",

	// Floor 4: anything
	"cmd/broadcastd": "*",
	"bench":          "*",
	"bench/":         "*",

	"internal/golden": "", // for tests

	// Tests of the whole. What they start, they use from outside.
	"test/": "*",
}

// confined lists what lies outside the standard library and may be imported in
// some places only.
var confined = map[string][]string{
	"github.com/quic-go/":       {"moqt/transport", "bench/ceiling"},
	"github.com/dunglas/":       {"moqt/transport"},
	"github.com/Eyevinn/mp4":    {"cmaf", "cmaf/codec", "cmaf/cenc", "bench/mp4ff"},
	"github.com/spf13/":         {"cmd/broadcastd"},
	"github.com/danielgtaylor/": {"internal/api", "internal/api/edge"},
	"go.yaml.in/":               {"internal/config"},
	"go.etcd.io/":               {"internal/store/boltstore"},
}

// metricsFloor are the packages below floor 2, which have no metrics.
var metricsFloor = []string{"moqt/wire", "moqt/wire16", "moqt/timers", "cmaf", "cmaf/codec", "hls/playlist", "cmaf/catalog", "cmaf/loc", "cmaf/cenc", "cmaf/segment", "moqt/track"}

// row returns what pkg may import.
func row(pkg string) (allowed []string, ok bool) {
	text, ok := mayImport[pkg]
	for prefix, t := range mayImport {
		if !ok && strings.HasSuffix(prefix, "/") && strings.HasPrefix(pkg, prefix) {
			text, ok = t, true
		}
	}
	return strings.Fields(text), ok
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string // without those of test files
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, fault := range importFaults(strings.TrimPrefix(p.ImportPath, module+"/"), p.Imports) {
			t.Error(fault)
		}
	}
	if seen < 15 {
		t.Errorf("go list found %d packages, which cannot be all", seen)
	}
}

// importFaults says what is wrong with the imports of pkg.
func importFaults(pkg string, imports []string) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	allowed, ok := row(pkg)
	if !ok {
		fault("package %s has no row in mayImport", pkg)
	}
	for _, imp := range imports {
		if ours, ok := strings.CutPrefix(imp, module+"/"); ok {
			if !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				fault("%s imports %s, which its row does not have", pkg, ours)
			}
			continue
		}
		for prefix, where := range confined {
			if strings.HasPrefix(imp, prefix) && !slices.Contains(where, pkg) {
				fault("%s imports %s, which belongs into %s alone", pkg, imp, strings.Join(where, ", "))
			}
		}
		if strings.HasPrefix(imp, "github.com/prometheus/") && slices.Contains(metricsFloor, pkg) {
			fault("%s imports %s; metrics begin on floor 2", pkg, imp)
		}
	}
	return faults
}

// TestImportTableIsAlive makes sure that the test above would notice.
func TestImportTableIsAlive(t *testing.T) {
	for _, tt := range []struct {
		pkg, imp string
		ok       bool
	}{
		{"moqt/track", module + "/moqt/wire", true},
		{"moqt/wire", module + "/moqt/track", false},
		{"moqt/relay", module + "/cmaf", false},
		{"cmaf", "github.com/quic-go/quic-go", false},
		{"moqt/transport", "github.com/quic-go/quic-go/http3", true},
		{"cmaf/segment", "github.com/prometheus/client_golang/prometheus", false},
		{"nobody/knows", "fmt", false},
		{"bench/load", module + "/viewer", true},
	} {
		if faults := importFaults(tt.pkg, []string{tt.imp}); (len(faults) == 0) != tt.ok {
			t.Errorf("%s importing %s: %q, want ok %t", tt.pkg, tt.imp, faults, tt.ok)
		}
	}
}

// Package e2e_test runs the daemon, ffmpeg and the other commands as people do,
// and looks at what comes out at the end.
package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

// command runs a subcommand of broadcastd.
func command(tb testing.TB, args ...string) *harness.Proc {
	tb.Helper()
	cmd := exec.Command(harness.Build(tb), args...)
	cmd.Dir = tb.TempDir()
	return harness.StartProc(tb, "broadcastd "+args[0], cmd)
}

// exitCode returns the exit code of a program that has ended.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	return -1
}

// relayURL returns a --relay for d, and the flag that trusts its certificate.
func relayURL(tb testing.TB, d *harness.Daemon, scheme string) []string {
	tb.Helper()
	return []string{"--relay", scheme + "://" + d.MoQ, "--cert-sha256", d.CertHash(tb)}
}

// A packet is one line of framemd5.
type packet struct {
	dts, pts, duration int64
	size               int
	hash               string
}

// A stream is what framemd5 says of one.
type stream struct {
	base    string // time base, as "1/15360"
	packets []packet
}

var timeBase = regexp.MustCompile(`^#tb \d+: (\S+)$`)

// packets hashes the packets of one kind of stream, "v" or "a", of a file.
func packets(tb testing.TB, file, kind string) stream {
	tb.Helper()
	cmd := exec.Command(harness.Tool(tb, "ffmpeg"), "-v", "error", "-i", file, "-map", "0:"+kind, "-c", "copy", "-copyts", "-f", "framemd5", "-")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("framemd5 of %s: %v", file, err)
	}
	var s stream
	for sc := bufio.NewScanner(strings.NewReader(string(out))); sc.Scan(); {
		if m := timeBase.FindStringSubmatch(sc.Text()); m != nil {
			s.base = m[1]
		}
		if strings.HasPrefix(sc.Text(), "#") {
			continue
		}
		f := strings.Split(sc.Text(), ",")
		if len(f) < 6 {
			tb.Fatalf("framemd5 line %q", sc.Text())
		}
		num := func(i int) int64 {
			n, err := strconv.ParseInt(strings.TrimSpace(f[i]), 10, 64)
			if err != nil {
				tb.Fatalf("framemd5 line %q: %v", sc.Text(), err)
			}
			return n
		}
		s.packets = append(s.packets, packet{num(1), num(2), num(3), int(num(4)), strings.TrimSpace(f[5])})
	}
	if len(s.packets) == 0 {
		tb.Fatalf("%s has no packets of kind %s", file, kind)
	}
	return s
}

// difference says how got differs from want, where both may begin at another
// time: it is to hold the same bytes with the same distances in time.
func difference(got, want stream) string {
	if got.base != want.base {
		return fmt.Sprintf("time base %s, want %s", got.base, want.base)
	}
	if len(got.packets) != len(want.packets) {
		return fmt.Sprintf("%d packets, want %d", len(got.packets), len(want.packets))
	}
	g0, w0 := got.packets[0].dts, want.packets[0].dts
	for i, g := range got.packets {
		w := want.packets[i]
		g.dts, g.pts, w.dts, w.pts = g.dts-g0, g.pts-g0, w.dts-w0, w.pts-w0
		if g != w {
			return fmt.Sprintf("packet %d is %+v, want %+v", i, g, w)
		}
	}
	return ""
}

package harness

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Root returns the repository's root folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Artifact returns a path under build/, which git ignores, for a file that is
// kept for people to look at, such as a screenshot.
func Artifact(tb testing.TB, name string) string {
	tb.Helper()
	dir := filepath.Join(Root(), "build", "test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// Tool returns the path of a program that the test needs: the first of these
// names that is installed.
func Tool(tb testing.TB, names ...string) string {
	tb.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(tb, strings.Join(names, " or ")+" is not installed")
	return ""
}

// NodeModules returns the path of a folder of the repository that is an npm
// project. The test is skipped when its packages are not installed.
func NodeModules(tb testing.TB, folder string) string {
	tb.Helper()
	dir := filepath.Join(Root(), folder)
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		missing(tb, folder+" has no node_modules: run npm ci there")
	}
	return dir
}

// missing ends a test for want of something that is installed beside Go.
func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("BROADCASTD_TEST_TOOLS") == "required" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// built is the daemon's binary, compiled once for a test process.
var built struct {
	once sync.Once
	path string
	out  []byte
	err  error
}

// Build compiles cmd/broadcastd and returns the binary's path. The binary
// stays under build/ and is shared by the tests of one process. The
// environment variable BROADCASTD_TEST_BINARY names another one to test.
func Build(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("BROADCASTD_TEST_BINARY"); path != "" {
		return path
	}
	built.once.Do(func() {
		// A name of its own for each test process: packages are tested at the
		// same time, and a running binary cannot be written over.
		name := "broadcastd-" + strconv.Itoa(os.Getpid())
		built.path = Artifact(tb, name)
		cmd := exec.Command("go", "build", "-o", built.path, "./cmd/broadcastd")
		cmd.Dir = Root()
		built.out, built.err = cmd.CombinedOutput()
	})
	if built.err != nil {
		tb.Fatalf("go build ./cmd/broadcastd: %v\n%s", built.err, built.out)
	}
	return built.path
}

// RemoveBinary deletes what Build made. Call it at the end of TestMain.
func RemoveBinary() {
	if built.path != "" {
		_ = os.Remove(built.path) // it may never have been written
	}
}

// Ports that tests listen at lie below those that the kernel gives to sockets
// without one (net.ipv4.ip_local_port_range): a browser's connections would
// otherwise take a port between the look and the daemon's start.
const (
	firstPort = 12_000
	lastPort  = 32_000
)

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePort returns a port of 127.0.0.1 that is free for TCP and for UDP alike,
// and that this process has not been given before.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = make(map[int]bool)
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.given[port] {
			continue
		}
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		_ = l.Close()
		if err == nil {
			_ = u.Close()
			ports.given[port] = true
			return port
		}
	}
	tb.Fatal("no port is free for TCP and UDP")
	return 0
}

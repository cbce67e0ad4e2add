package control_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/boltstore"
)

var killRounds = flag.Int("kill.rounds", 10, "how often TestKill kills its child")

// killDir, in the environment, makes the test binary the child of TestKill.
const killDir = "CONTROL_KILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const killClients = 50

// writeUntilKilled has many clients write, and prints each write that was
// acknowledged: "<client> <what> <id> <value>".
func writeUntilKilled(dir string) error {
	st, err := boltstore.Open(boltstore.Config{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := control.Open(ctx, control.Config{Store: st, Secrets: controltest.Secrets()})
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- s.Run(ctx) }()
	for client := range killClients {
		go func() { failed <- writeAs(ctx, s, client) }()
	}
	return <-failed
}

// writeAs makes, changes and deletes. Each call is one client's next step.
func writeAs(ctx context.Context, s *control.Service, client int) error {
	ack := func(what, id, value string) { fmt.Printf("%d %s %s %s\n", client, what, id, value) } // one write, whole
	mine, _, err := s.CreateInput(ctx, control.NewInput{Org: "local", Name: "0", Settings: settingsOf(0)})
	if err != nil {
		return err
	}
	ack("set", mine.ID, "0")
	for n := 1; ; n++ {
		_, err := s.UpdateInput(ctx, mine.ID, 0, func(set *control.InputSettings, name *string) error {
			*name, *set = fmt.Sprint(n), settingsOf(n)
			return nil
		})
		if err != nil {
			return err
		}
		ack("set", mine.ID, fmt.Sprint(n))
		_, key, err := s.RotateStreamKey(ctx, mine.ID)
		if err != nil {
			return err
		}
		ack("key", mine.ID, key)
		r, err := s.CreateSession(ctx, control.NewSession{Input: mine.ID})
		if err != nil {
			return err
		}
		ack("session", r.ID, "idle")
		if n%2 == 0 {
			if _, err := s.DeleteSession(ctx, r.ID); err != nil {
				return err
			}
			ack("session", r.ID, "gone")
		}
	}
}

// settingsOf returns settings that belong to a name, so that a mixture shows.
func settingsOf(n int) control.InputSettings {
	return control.InputSettings{MaxBitrate: int64(10_000 + n), Backup: fmt.Sprintf("https://backup.example/%d", n)}
}

// TestKill kills a process while many write in it, at a random moment, and looks
// what is left: every write that was acknowledged, and no record in part.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := make(map[string]string) // what must be, by "<what> <id>"
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range *killRounds {
		before := len(acked)
		last := killChild(t, dir, time.Duration(random.IntN(250))*time.Millisecond, acked)
		checkAcked(t, dir, acked, last)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		if round == 0 && len(acked) == before {
			t.Fatal("nothing was acknowledged")
		}
	}
	t.Logf("%d records in %d rounds", len(acked), *killRounds)
}

// killChild runs the child, kills it some time after its first write, and notes
// what it said was written. last holds what each client said last: it may have
// done its next step too.
func killChild(t *testing.T, dir string, after time.Duration, acked map[string]string) (last map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	clients := make(map[int]string)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // a line that was cut off was no acknowledgement
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			break
		}
		once.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
		var client int
		var what, id, value string
		if _, err := fmt.Sscan(line, &client, &what, &id, &value); err != nil {
			t.Fatalf("the child says %q", line)
		}
		acked[what+" "+id] = value
		clients[client] = what + " " + id
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended by itself: %v", err)
	}
	last = make(map[string]bool, len(clients))
	for _, key := range clients {
		last[key] = true
	}
	return last
}

// checkAcked opens the store that a killed process left, and compares. What the
// next step of a client has changed unacknowledged, it takes from there.
func checkAcked(t *testing.T, dir string, acked map[string]string, last map[string]bool) {
	t.Helper()
	st, err := boltstore.Open(boltstore.Config{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Check(); err != nil {
		t.Error(err)
	}
	ctx := t.Context()
	s, err := control.Open(ctx, control.Config{Store: st, Secrets: controltest.Secrets()}) // reads every record
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range acked {
		what, id, _ := strings.Cut(key, " ")
		switch what {
		case "set":
			in, err := s.Input(ctx, id)
			n, want := number(in.Name), number(value)
			if err != nil || n != want && n != want+1 {
				t.Errorf("input %s is at %q, %v, acknowledged was %s", id, in.Name, err, value)
			}
			if want := settingsOf(n); in.Settings.MaxBitrate != want.MaxBitrate || in.Settings.Backup != want.Backup {
				t.Errorf("input %s is %q with %+v: parts of two writes", id, in.Name, in.Settings)
			}
			acked[key] = in.Name
		case "key":
			if verify(s, value) {
				continue
			}
			if !last["set "+id] { // then it is the next one, which nobody knows
				t.Errorf("the key of input %s is not the one that was acknowledged", id)
			}
			delete(acked, key)
		case "session":
			_, err := s.Session(ctx, id)
			if gone := control.CodeOf(err) == control.NotFound; gone != (value == "gone") && !(gone && last[key]) {
				t.Errorf("session %s: %v, acknowledged was %s", id, err, value)
			} else if gone {
				acked[key] = "gone"
			}
		}
	}
}

func number(text string) (n int) {
	fmt.Sscan(text, &n)
	return n
}

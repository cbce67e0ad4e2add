package link

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestShaper sends one packet a millisecond and compares what leaves with what
// the link promises. There is no clock but the test's.
func TestShaper(t *testing.T) {
	began := time.Unix(1_800_000_000, 0)
	const size, packets = 1000, 10_000
	for _, tt := range []struct {
		name  string
		cfg   Config
		sent  [2]uint64        // least and most
		delay [2]time.Duration // of the last packet that came through
	}{
		{"nothing", Config{}, [2]uint64{packets, packets}, [2]time.Duration{0, 0}},
		{"delay", Config{Delay: 20 * time.Millisecond}, [2]uint64{packets, packets}, [2]time.Duration{20 * time.Millisecond, 20 * time.Millisecond}},
		// 1000 bytes take 0.5 ms of 16 Mbit/s.
		{"wide enough", Config{Rate: 16e6}, [2]uint64{packets, packets}, [2]time.Duration{time.Millisecond / 2, time.Millisecond / 2}},
		// Of 8 Mbit/s, half goes through 4 Mbit/s, behind a queue of 20 KB, 40 ms.
		{"bottleneck", Config{Rate: 4e6, Queue: 20_000}, [2]uint64{packets / 2, packets/2 + 25}, [2]time.Duration{37 * time.Millisecond, 40 * time.Millisecond}},
		{"loss", Config{Loss: 0.01}, [2]uint64{packets - 140, packets - 60}, [2]time.Duration{0, 0}},
		{"nothing comes through", Config{Loss: 1}, [2]uint64{0, 0}, [2]time.Duration{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := tt.cfg.Checked()
			if err != nil {
				t.Fatal(err)
			}
			s := newShaper(cfg)
			var delay time.Duration
			last := began
			for i := range packets {
				now := began.Add(time.Duration(i) * time.Millisecond)
				if at, ok := s.take(now, size); ok {
					if at.Before(last) {
						t.Fatalf("packet %d arrives before the one ahead of it", i)
					}
					last, delay = at, at.Sub(now)
				}
			}
			if s.sent < tt.sent[0] || s.sent > tt.sent[1] {
				t.Errorf("%d packets came through, want %d to %d", s.sent, tt.sent[0], tt.sent[1])
			}
			if s.sent+s.full+s.lost != packets {
				t.Errorf("%d sent, %d found a full queue, %d lost: not %d", s.sent, s.full, s.lost, packets)
			}
			if delay < tt.delay[0] || delay > tt.delay[1] {
				t.Errorf("delay %v, want %v to %v", delay, tt.delay[0], tt.delay[1])
			}
		})
	}
}

// TestSeed: a seed replays exactly, another one does not.
func TestSeed(t *testing.T) {
	lose := func(seed uint64) string {
		s := newShaper(Config{Loss: 0.3, Seed: seed})
		var b strings.Builder
		for range 200 {
			if _, ok := s.take(time.Time{}, 100); ok {
				b.WriteByte('.')
			} else {
				b.WriteByte('x')
			}
		}
		return b.String()
	}
	if a, b := lose(7), lose(7); a != b {
		t.Errorf("seed 7 gave\n%s and\n%s", a, b)
	}
	if a, b := lose(7), lose(8); a == b {
		t.Errorf("seeds 7 and 8 both gave %s", a)
	}
}

func TestChecked(t *testing.T) {
	_, err := Config{Rate: 1, Delay: -1, Queue: -1, Loss: 2}.Checked()
	for _, want := range []string{"rate of 1", "delay of -1ns", "queue of -1", "loss of 2"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Checked: %v, want a mention of %q", err, want)
		}
	}
	c, err := Config{Rate: 4e6, Delay: 20 * time.Millisecond, Loss: 0.01}.Checked()
	if err != nil || c.Queue != 50_000 {
		t.Errorf("Checked = %+v, %v, want a queue of 50000", c, err)
	}
	if got, want := c.String(), "4 Mbit/s, 20ms one way, queue 50 KB, loss 1 %"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

var errOver = errors.New("over")

// TestLink sends packets to an echo server and back, through a link that delays.
func TestLink(t *testing.T) {
	echo, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		buf := make([]byte, 2000)
		for {
			n, from, err := echo.ReadFromUDP(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDP(buf[:n], from)
		}
	}()
	defer func() { echo.Close(); <-echoed }()

	const delay, packets = 30 * time.Millisecond, 20
	l, err := New(echo.LocalAddr().String(), Config{Delay: delay})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	defer func() {
		cancel(errOver)
		if err := <-ran; !errors.Is(err, errOver) {
			t.Errorf("Run: %v, want %v", err, errOver)
		}
	}()

	c, err := net.Dial("udp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	for i := range uint64(packets) {
		if _, err := c.Write(binary.BigEndian.AppendUint64(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	for i := range uint64(packets) {
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint64(buf[:n]); got != i {
			t.Fatalf("packet %d came, want %d", got, i)
		}
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back in %v, want at least %v", took, 2*delay)
	}
	if st := l.Stats(); st.Sent != packets || st.Full+st.Lost != 0 {
		t.Errorf("Stats = %+v, want %d sent", st, packets)
	}
}

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// pushSRT lets ffmpeg push the test picture over SRT.
func pushSRT(t *testing.T, url string, p harness.TestPicture) *harness.Proc {
	t.Helper()
	return harness.FFmpeg(t, append(p.Args(), "-f", "mpegts", url)...)
}

// TestSRTAdmission: who may publish over SRT does; who may not is refused with
// SRT's code for that, the log says why, and a viewer of another input loses
// nothing. Keys and passphrases land in no log.
func TestSRTAdmission(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{
		"BROADCASTD_AUTH__LOOPBACK": "false", "BROADCASTD_ADMIN_KEY": rtmpAdminKey,
	}})
	srt := func(in liveInput, key, rest string) string {
		return "srt://" + d.SRT + "?streamid=" + in.ExternalID + ":" + key + "&pkt_size=1316" + rest
	}
	in := makeInput(t, d, "srt", nil)
	other := makeInput(t, d, "rtmp", nil)
	elsewhere := makeInput(t, d, "srt", map[string]any{"allowFrom": []string{"192.0.2.0/24"}})
	strict := makeInput(t, d, "srt", map[string]any{"requireEncryption": true})
	slow := makeInput(t, d, "srt", map[string]any{"maxBitrate": 100_000})
	locked := makeInput(t, d, "srt", nil)
	var phrase struct{ Passphrase string }
	apiCall(t, d, http.MethodPost, "/api/v1/live-inputs/"+locked.ID+"/rotate-passphrase", nil, &phrase)
	if phrase.Passphrase == "" {
		t.Fatal("the API made no passphrase")
	}

	bystander := pushSRT(t, "srt://"+d.SRT+"?streamid=%23!::r="+in.ExternalID+",m=publish,s="+in.StreamKey+"&pkt_size=1316", harness.TestPicture{})
	d.WaitLog(regexp.MustCompile(`"broadcast began".*`+in.ExternalID), 15*time.Second)
	out := filepath.Join(t.TempDir(), "bystander.mp4")
	var play struct{ Token string }
	body, err := json.Marshal(map[string]any{"ttlSeconds": 600})
	if err != nil {
		t.Fatal(err)
	}
	apiCall(t, d, http.MethodPost, "/api/v1/live-inputs/"+in.ID+"/playback-url", body, &play)
	rec := command(t, "record", "--relay", "moqt://"+d.MoQ+"/playback/"+in.ExternalID+"?tok="+play.Token, "--cert-sha256", d.CertHash(t),
		"--namespace", "stream/local/"+in.ExternalID, "--output", out)
	harness.Eventually(t, 10*time.Second, "a viewer", func(context.Context) error {
		if _, err := os.Stat(out); err != nil {
			return err
		}
		return nil
	})

	brief := harness.TestPicture{Duration: 20 * time.Second}
	for _, tt := range []struct{ name, url, says, code string }{
		{"no key", "srt://" + d.SRT + "?streamid=" + in.ExternalID, "show a stream key", "1401"},
		{"a key that is none", srt(in, "sk_live_0000", ""), "auth_failed", "1401"},
		{"a stolen stream id, of another input", srt(in, other.StreamKey, ""), "auth_failed", "1403"},
		{"another protocol's input", srt(other, other.StreamKey, ""), "it takes rtmp, and this is srt", "1403"},
		{"an address that may not", srt(elsewhere, elsewhere.StreamKey, ""), "may not come from this address", "1403"},
		{"in the clear", srt(strict, strict.StreamKey, ""), "has to encrypt", "1011"},
		{"no passphrase", srt(locked, locked.StreamKey, ""), "has to encrypt with the input's passphrase", "1011"},
		{"a wrong passphrase", srt(locked, locked.StreamKey, "&passphrase=not-the-passphrase"), "the passphrase is wrong", "1010"},
		{"playing", "srt://" + d.SRT + "?streamid=read:" + in.ExternalID + ":me:" + in.StreamKey, "playing over SRT is not offered", "1405"},
		{"a path", "srt://" + d.SRT + "?streamid=%23!::r=../../etc,m=publish", "the stream id's name", "1400"},
		{"more bits than it may", srt(slow, slow.StreamKey, ""), "bitrate is higher", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(d.Log())
			p := pushSRT(t, tt.url, brief)
			if code := exitCode(p.Wait(15 * time.Second)); code == 0 {
				t.Error("it was taken")
			}
			said := d.Log()[before:]
			if !strings.Contains(said, tt.says) {
				t.Errorf("the log does not say %q: %s", tt.says, said)
			}
			if tt.code != "" && !strings.Contains(said, `"code":`+tt.code) {
				t.Errorf("the log does not say that the code was %s: %s", tt.code, said)
			}
		})
	}

	first := phrase.Passphrase
	for _, round := range []struct {
		name, passphrase string
		taken            bool
	}{{"with the passphrase", first, true}, {"with the one before", first, true}, {"with the one before that", first, false}} {
		p := pushSRT(t, srt(locked, locked.StreamKey, "&passphrase="+round.passphrase), harness.TestPicture{Duration: time.Second})
		if code := exitCode(p.Wait(20 * time.Second)); (code == 0) != round.taken {
			t.Errorf("%s: ffmpeg ended with %d: %s", round.name, code, p.Log())
		}
		apiCall(t, d, http.MethodPost, "/api/v1/live-inputs/"+locked.ID+"/rotate-passphrase", nil, &phrase)
	}

	if _, err := bystander.Stop(); err != nil {
		t.Logf("ffmpeg: %v", err)
	}
	if err := rec.Wait(20 * time.Second); err != nil || !strings.Contains(rec.Log(), ", no gap)") {
		t.Errorf("the viewer of another input noticed: %v\n%s", err, rec.Log())
	}
	for _, secret := range []string{in.StreamKey, other.StreamKey, locked.StreamKey, first, phrase.Passphrase, "not-the-passphrase"} {
		if strings.Contains(d.Log(), secret) {
			t.Error("a secret stands in the log")
		}
	}
}

// TestSRTReturns kills an encoder and starts it again, while the old connection
// still looks alive.
func TestSRTReturns(t *testing.T) {
	t.Parallel()
	testReturns(t, func(d *harness.Daemon, p harness.TestPicture) *harness.Proc {
		return pushSRT(t, "srt://"+d.SRT+"?streamid=cam&pkt_size=1316&linger=3", p)
	})
}

// TestSRTLoss sends over a network that loses and reorders packets: with a
// latency of some round trips, nothing is missing.
func TestSRTLoss(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Env: map[string]string{"BROADCASTD_INGEST__GRACE": "1s"}})
	for _, tt := range []struct {
		name string
		loss float64
	}{{"1 %", 0.01}, {"5 %", 0.05}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			name := "loss" + tt.name[:1]
			out := filepath.Join(t.TempDir(), "out.mp4")
			rec := command(t, append([]string{"record", "--namespace", "stream/local/" + name, "--output", out}, relayURL(t, d, "moqt")...)...)
			via := badNetwork(t, d.SRT, tt.loss)
			p := pushSRT(t, "srt://"+via+"?streamid="+name+"&pkt_size=1316&linger=3&latency=500000", harness.TestPicture{Duration: 4 * time.Second, BFrames: 2})
			if err := p.Wait(30 * time.Second); err != nil {
				t.Fatalf("ffmpeg: %v\n%s", err, p.Log())
			}
			if err := rec.Wait(15 * time.Second); err != nil {
				t.Fatalf("record: %v\n%s", err, rec.Log())
			}
			over := d.WaitLog(regexp.MustCompile(`"SRT connection over","broadcast":"`+name+`".*"lost":(\d+),"retransmitted":(\d+).*"gaps":(\d+)`), 5*time.Second)
			if over[1] == "0" || over[2] == "0" || over[3] != "0" {
				t.Errorf("%s packets were lost, %s came again, %s gaps remained; want some, some and none", over[1], over[2], over[3])
			}
			if n := len(packets(t, out, "v").packets); n != 120 {
				t.Errorf("%d pictures were recorded, want all 120", n)
			}
		})
	}
}

// badNetwork passes UDP to addr and back, 10 ms later each way, some a little
// later than those behind them. It loses what comes after the handshake, of
// which SRT repeats no answer.
func badNetwork(t *testing.T, addr string, loss float64) (via string) {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var caller net.Addr
	dice := rand.New(rand.NewPCG(7, uint64(loss*1000)))
	pass := func(p []byte, send func([]byte)) {
		mu.Lock()
		drop, late := dice.Float64() < loss, dice.Float64() < 0.02
		mu.Unlock()
		if handshake := bytes.HasPrefix(p, []byte{0x80, 0}); drop && !handshake {
			return
		}
		delay := 10 * time.Millisecond
		if late {
			delay = 15 * time.Millisecond
		}
		p = bytes.Clone(p)
		time.AfterFunc(delay, func() { send(p) })
	}
	var g sync.WaitGroup
	g.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := front.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			mu.Lock()
			caller = from
			mu.Unlock()
			pass(b[:n], func(p []byte) { back.Write(p) })
		}
	})
	g.Go(func() {
		b := make([]byte, 2048)
		for {
			n, err := back.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			mu.Lock()
			to := caller
			mu.Unlock()
			if err == nil && to != nil {
				pass(b[:n], func(p []byte) { front.WriteTo(p, to) })
			}
		}
	})
	t.Cleanup(func() {
		front.Close()
		back.Close()
		g.Wait()
	})
	return front.LocalAddr().String()
}

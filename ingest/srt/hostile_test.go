package srt

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gosrt "github.com/datarhei/gosrt"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A stranger sends what it likes.
type stranger struct {
	*net.UDPConn
	t      testing.TB
	socket uint32
}

func newStranger(t testing.TB, addr string) *stranger {
	t.Helper()
	nc, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &stranger{nc.(*net.UDPConn), t, rand.Uint32()&0x3fff_ffff | 1}
}

// handshake is a handshake packet.
func (s *stranger) handshake(version, typ, mtu, cookie uint32, extensions ...byte) []byte {
	p := make([]byte, handshakeSize)
	be := binary.BigEndian
	be.PutUint16(p, 0x8000)
	h := p[headerSize:]
	be.PutUint32(h, version)
	if be.PutUint16(h[6:], 2); typ == typeConclusion {
		be.PutUint16(h[6:], 7)
	}
	be.PutUint32(h[12:], mtu)
	be.PutUint32(h[16:], 8192)
	be.PutUint32(h[20:], typ)
	be.PutUint32(h[24:], s.socket)
	be.PutUint32(h[28:], cookie)
	return slices.Concat(p, extensions)
}

func (s *stranger) send(p []byte) {
	s.t.Helper()
	if _, err := s.Write(p); err != nil {
		s.t.Fatal(err)
	}
}

// answer returns the next packet that comes, or nil.
func (s *stranger) answer(limit time.Duration) []byte {
	b := make([]byte, 2000)
	s.SetReadDeadline(time.Now().Add(limit))
	n, err := s.Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

// cookie asks for one.
func (s *stranger) cookie() uint32 {
	s.t.Helper()
	for range 5 {
		s.send(s.handshake(4, typeInduction, 1500, 0))
		if p := s.answer(time.Second); len(p) >= handshakeSize {
			if len(p) > handshakeSize {
				s.t.Errorf("the answer to %d bytes of a stranger has %d", handshakeSize, len(p))
			}
			return binary.BigEndian.Uint32(p[headerSize+28:])
		}
	}
	s.t.Fatal("no answer to an induction")
	return 0
}

// extension is one of a handshake.
func extension(typ uint16, content string) []byte {
	for len(content)%4 != 0 {
		content += "\x00"
	}
	b := binary.BigEndian.AppendUint16(nil, typ)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(content)/4)), content...)
}

// streamID is the extension with a stream id, whose words are little-endian.
func streamID(id string) []byte {
	b := extension(5, id)
	for i := 4; i < len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	return b
}

// hello is the extension that every handshake needs: SRT 1.5.1, all flags but
// that of a stream, 120 ms.
func hello() []byte { return extension(1, "\x00\x01\x05\x01\x00\x00\x00\x3f\x00\x78\x00\x78") }

func typeOf(p []byte) uint32 {
	if len(p) < handshakeSize {
		return 0
	}
	return binary.BigEndian.Uint32(p[atType:])
}

// TestHostile: what no encoder sends is refused or passed over, and the server
// goes on.
func TestHostile(t *testing.T) {
	w := newWorld(t, Config{})
	join := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	km := func(slen, klen byte, size int) []byte {
		b := make([]byte, 16+size)
		copy(b, "\x12\x20\x29\x01\x00\x00\x00\x00\x02\x00\x02\x00\x00\x00")
		b[14], b[15] = slen, klen
		return extension(3, string(b))
	}
	for _, tt := range []struct {
		name    string
		mtu     uint32
		content []byte
		want    uint32 // type of the answer; 0: none
	}{
		{"a conclusion that ends in an extension's header", 1500, []byte{0}, 0},
		{"three bytes behind an extension", 1500, join(hello(), []byte{0, 5, 0}), 0},
		{"an extension longer than the packet", 1500, join(hello(), []byte{0, 5, 0xff, 0xff}), 0},
		{"a stream id of more than 512 bytes", 1500, join(hello(), streamID(strings.Repeat("k", 516))), 0},
		{"key material without a key", 1500, join(hello(), km(4, 0, 24)), 0},
		{"key material of 1352 bytes", 1300, join(hello(), km(4, 255, 1300)), 0},
		{"key material whose key is missing", 1500, join(hello(), km(4, 4, 16)), 0},
		{"no extension at all", 1500, nil, 1004},
		{"an MTU of 0, of which gosrt makes 4 GiB", 0, join(hello(), streamID("cam:good")), uint32(Rogue)},
		{"an MTU of 43", 43, join(hello(), streamID("cam:good")), uint32(Rogue)},
		{"an MTU without room for a packet", 100, join(hello(), streamID("cam:good")), uint32(Rogue)},
		{"a stream id with a line break", 1500, join(hello(), streamID("cam\nlevel=ERROR")), uint32(BadRequest)},
		{"a path", 1500, join(hello(), streamID("#!::r=../..,m=publish,s=good")), uint32(BadRequest)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStranger(t, w.addr)
			cookie := s.cookie()
			s.send(s.handshake(5, typeConclusion, tt.mtu, cookie, tt.content...))
			got := typeOf(s.answer(300 * time.Millisecond))
			if got != tt.want {
				t.Errorf("answered with type %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("a cookie of somebody else", func(t *testing.T) {
		s, other := newStranger(t, w.addr), newStranger(t, w.addr)
		s.send(s.handshake(5, typeConclusion, 1500, other.cookie(), join(hello(), streamID("cam:good"))...))
		if got := typeOf(s.answer(time.Second)); got != uint32(Rogue) {
			t.Errorf("answered with type %d, want %d", got, Rogue)
		}
	})
	t.Run("version 4", func(t *testing.T) {
		s := newStranger(t, w.addr)
		s.send(s.handshake(4, typeConclusion, 1500, s.cookie()))
		if got := typeOf(s.answer(time.Second)); got != uint32(OldVersion) && got != uint32(Rogue) {
			t.Errorf("answered with type %d, want %d or %d", got, OldVersion, Rogue)
		}
	})
	t.Run("noise", func(t *testing.T) {
		s := newStranger(t, w.addr)
		dice := rand.New(rand.NewPCG(1, 2))
		for i := range 2000 {
			if i%32 == 31 {
				time.Sleep(time.Millisecond) // more at once is lost, and tests nothing
			}
			p := make([]byte, dice.IntN(1500))
			for i := range p {
				p[i] = byte(dice.Uint32())
			}
			if len(p) > 16 && dice.IntN(2) == 0 { // of a control packet for the listener
				copy(p, []byte{0x80, byte(dice.IntN(9))})
				copy(p[12:], "\x00\x00\x00\x00")
			}
			s.send(p)
		}
		newStranger(t, w.addr).cookie() // all of it has been read
	})
	if !strings.Contains(w.log.String(), "SRT handshake was not understood") {
		t.Error("no handshake made gosrt panic: what is caught there may go")
	}
	if strings.Contains(w.log.String(), "\nlevel=ERROR") {
		t.Error("a peer has written a line of the log")
	}
	conn, code := w.call(t, "cam:good", "")
	if code != 0 {
		t.Fatalf("an encoder is refused afterwards, with %d", code)
	}
	send(t, conn, clip(t))
	w.until(t, "media", func() bool { return w.chunks > 0 })
}

// TestHostilePublisher: a connection that was let in cannot break more than
// itself: control packets of any kind, key material in every state, packets in
// clear, loss reports of impossible ranges.
func TestHostilePublisher(t *testing.T) {
	w := newWorld(t, Config{})
	s := newStranger(t, w.addr)
	s.send(s.handshake(5, typeConclusion, 1500, s.cookie(), append(hello(), streamID("cam:good")...)...))
	p := s.answer(5 * time.Second)
	if typeOf(p) != typeConclusion {
		t.Fatalf("refused with %d", typeOf(p))
	}
	us := binary.BigEndian.Uint32(p[headerSize+24:])
	dice := rand.New(rand.NewPCG(3, 4))
	for i := range 4000 {
		b := make([]byte, headerSize+dice.IntN(1400))
		for i := range b[headerSize:] {
			b[headerSize+i] = byte(dice.Uint32())
		}
		binary.BigEndian.PutUint32(b[8:], dice.Uint32())
		binary.BigEndian.PutUint32(b[12:], us)
		switch kind := uint16(dice.IntN(12)); {
		case kind == 5: // a shutdown would end it
			continue
		case kind < 9:
			binary.BigEndian.PutUint16(b, 0x8000|kind)
		case kind == 9: // user: HSREQ, HSRSP, KMREQ, KMRSP
			binary.BigEndian.PutUint16(b, 0xffff)
			binary.BigEndian.PutUint16(b[2:], uint16(dice.IntN(6)))
		default:
			binary.BigEndian.PutUint32(b, dice.Uint32()&0x7fff_ffff)
		}
		if s.send(b); i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	conn, code := w.call(t, "other:good", "")
	if code != 0 {
		t.Fatalf("an encoder is refused meanwhile, with %d", code)
	}
	send(t, conn, clip(t))
	w.until(t, "media", func() bool { return w.chunks > 0 })
}

func TestLimiter(t *testing.T) {
	l := newLimiter()
	now := time.Unix(1000, 0)
	a, neighbour, far := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:192.0.2.200"), netip.MustParseAddr("192.0.3.1")
	for i := range attemptBurst {
		if !l.take(now, a) {
			t.Fatalf("attempt %d was refused", i)
		}
	}
	if l.take(now, neighbour) {
		t.Error("its neighbour has an allowance of its own")
	}
	if !l.take(now, far) {
		t.Error("another network pays for it")
	}
	if !l.take(now.Add(time.Second/attemptRate), a) {
		t.Error("it gets no allowance again")
	}
	for i := range 2 * maxNetworks {
		l.take(now, netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
	}
	if len(l.networks) > maxNetworks {
		t.Errorf("%d networks are kept, at most %d may", len(l.networks), maxNetworks)
	}
	if l.take(now.Add(time.Hour), a); len(l.networks) > maxNetworks {
		t.Errorf("%d networks are kept an hour later", len(l.networks))
	}
}

// TestWatched: each limit of a connection, by the figures that show it.
func TestWatched(t *testing.T) {
	l := limits{idle: 10 * time.Second, rate: 1000, buffer: 5000}
	for _, tt := range []struct {
		name string
		want error
		at   func(i int, s *gosrt.Statistics) // a second
	}{
		{"a stream", nil, func(i int, s *gosrt.Statistics) { s.Accumulated.ByteRecv = uint64(i * 900) }},
		{"nothing comes", errIdle, func(int, *gosrt.Statistics) {}},
		{"too much comes", errRate, func(i int, s *gosrt.Statistics) { s.Accumulated.ByteRecv = uint64(i * 1200) }},
		{"a buffer that fills", errBuffer, func(i int, s *gosrt.Statistics) {
			s.Accumulated.ByteRecv, s.Instantaneous.ByteRecvBuf = uint64(i*900), uint64(i*900)
		}},
		{"no ACK is confirmed", errSilent, func(i int, s *gosrt.Statistics) {
			s.Accumulated.ByteRecv, s.Instantaneous.MsRTT = uint64(i*900), 100
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := watched{limits: l}
			var err error
			for i := 0; i < 300 && err == nil; i++ {
				s := gosrt.Statistics{}
				s.Instantaneous.MsRTT = float64(20 + i)
				tt.at(i, &s)
				err = w.step(time.Unix(int64(i), 0), &s)
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestExtensionsFit: the guard of a Puller lets no handshake through that gosrt
// would read past the end of.
func TestGuardPasses(t *testing.T) {
	s := &stranger{t: t, socket: 1}
	answer := func(mtu uint32, ext ...byte) []byte { return s.handshake(5, typeConclusion, mtu, 0, ext...) }
	for _, tt := range []struct {
		name string
		in   []byte
		want bool
	}{
		{"an answer", answer(1500, hello()...), true},
		{"one byte behind it", answer(1500, append(hello(), 0)...), false},
		{"an extension that is cut", answer(1500, hello()[:8]...), false},
		{"an MTU of 0", answer(0, hello()...), false},
		{"a refusal", s.handshake(5, 1403, 1500, 0), true},
		{"a wavehand", s.handshake(5, typeDone+1, 1500, 0), false},
		{"half a header", []byte{0x80, 0, 0}, false},
		{"half a handshake", answer(1500)[:40], false},
		{"data", append([]byte{0, 0, 0, 1}, make([]byte, 30)...), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := new(guard).passes(tt.in); got != tt.want {
				t.Errorf("passes = %t, want %t", got, tt.want)
			}
		})
	}
	g := new(guard)
	if !g.passes(answer(1500, hello()...)) || g.passes(answer(1500, hello()...)) {
		t.Error("the second answer passes, for which gosrt would wait for ever")
	}
}

// TestPuller calls a listener of gosrt's, takes what it sends until it closes,
// and says why where it is refused or nobody answers.
func TestPuller(t *testing.T) {
	c := gosrt.DefaultConfig()
	c.Latency = 50 * time.Millisecond
	l, err := gosrt.Listen("srt", "127.0.0.1:0", c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := clip(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			req, err := l.Accept2()
			if err != nil {
				return
			}
			if req.StreamId() != "cam" || req.SetPassphrase(passphrase) != nil {
				req.Reject(gosrt.RejectionReason(Forbidden))
				continue
			}
			conn, err := req.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			send(t, conn, in)
			acknowledged(t, conn, len(in))
			conn.Close()
		}
	}()
	pull := func(url string) (*counter, error) {
		b := new(counter)
		p, err := NewPuller(PullConfig{URL: url, Handshake: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return b, p.Run(t.Context(), b)
	}
	at := "srt://" + l.Addr().String()
	b, err := pull(at + "?streamid=cam&latency=300&passphrase=" + strings.ReplaceAll(passphrase, " ", "%20"))
	if want := chunksOf(t, in); err == nil || b.chunks != want {
		t.Errorf("%d chunks, %v, want %d and that the server closed", b.chunks, err, want)
	}
	if _, err := pull(at + "?streamid=other"); err == nil || !strings.Contains(err.Error(), "forbidden (code 1403)") {
		t.Errorf("refused with %v, want forbidden", err)
	}
	if _, err := pull("srt://127.0.0.1:9"); err == nil || !strings.Contains(err.Error(), "nobody answered within 1s") {
		t.Errorf("nobody: %v", err)
	}
	l.Close()
	<-done
}

func TestNewPullerRefuses(t *testing.T) {
	for url, says := range map[string]string{
		"srt://h":                                        "the URL is none",
		"rtmp://h:1":                                     "the URL is none",
		"srt://u:secret@h:1":                             "a user or a path",
		"srt://h:1/secret":                               "a user or a path",
		"srt://h:1?passphrase=secret":                    "passphrase has 6 bytes",
		"srt://h:1?mode=listener":                        "mode is not caller",
		"srt://h:1?latency=secret":                       "latency is not",
		"srt://h:1?latency=60001":                        "latency is not",
		"srt://h:1?pbkeylen=17":                          "pbkeylen",
		"srt://h:1?transtype=file":                       "transtype",
		"srt://h:1?streamid=" + strings.Repeat("k", 513): "streamid has 513 bytes",
	} {
		_, err := NewPuller(PullConfig{URL: url})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.60s: %v, want %q and nothing secret", url, err, says)
		}
	}
}

var _ cmaf.Broadcast = (*counter)(nil)

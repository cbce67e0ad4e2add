package rtmp

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortmplib/pkg/amf0"
	"github.com/bluenviron/gortmplib/pkg/bytecounter"
	"github.com/bluenviron/gortmplib/pkg/handshake"
	rtmpmsg "github.com/bluenviron/gortmplib/pkg/message"
)

const (
	readBuffer   = 64 << 10
	writeTimeout = 10 * time.Second
	// windowSize is after how many bytes the peer is to acknowledge them, and
	// chunkSize what our own messages are cut to: no message of ours is larger.
	windowSize = 2_500_000
	chunkSize  = 65536
	// leastWindow bounds how often a peer makes us acknowledge.
	leastWindow = 16 << 10
	// lingerTime and lingerBytes are how long the peer may read why it was
	// refused, while what it sends is thrown away.
	lingerTime  = 2 * time.Second
	lingerBytes = 4 << 20
)

// Chunk streams that our messages go out on, and the message stream that media
// has.
const (
	commandStream = 3
	statusStream  = 5
	mediaStream   = 1
)

// What a connection's end may be, beside the errors of its network.
var (
	errIdle      = errors.New("rtmp: nothing came for too long")
	errHandshake = errors.New("rtmp: it took too long to begin publishing")
)

// A link is one RTMP connection, of either side: the chunk stream with what
// belongs to it. One goroutine reads; stop may be called from any.
type link struct {
	nc       net.Conn
	chunks   *chunkReader
	w        *rtmpmsg.Writer
	received atomic.Uint64
	acked    uint64
	window   uint64 // bytes after which the peer wants an acknowledgement; 0: never
	idle     time.Duration
	extended time.Time // when the read deadline was last moved
	pace     bucket
	// connected says that the peer takes commands.
	connected bool

	mu      sync.Mutex
	stopped error
}

func newLink(nc net.Conn, idle time.Duration, maxRate int) *link {
	l := &link{nc: nc, idle: idle, pace: newBucket(maxRate)}
	l.chunks = newChunkReader(bufio.NewReaderSize(readerFunc(l.read), readBuffer))
	l.w = rtmpmsg.NewWriter(writerFunc(l.write), bytecounter.NewWriter(io.Discard), false)
	return l
}

type (
	readerFunc func([]byte) (int, error)
	writerFunc func([]byte) (int, error)
)

func (f readerFunc) Read(p []byte) (int, error)  { return f(p) }
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// read reads from the network, no faster than the pace allows, and says why it
// failed in our words.
func (l *link) read(p []byte) (int, error) {
	n, err := l.nc.Read(p)
	l.received.Add(uint64(n))
	if err == nil {
		now := time.Now()
		if wait := l.pace.take(now, n); wait > 0 {
			time.Sleep(min(wait, time.Second))
		}
		if now.Sub(l.extended) < l.idle/idleSteps {
			return n, nil
		}
		return n, l.extend(l.idle)
	}
	return n, l.why(err)
}

// idleSteps is how many times a deadline is moved within itself: not with each
// read, which would cost as much as the read.
const idleSteps = 16

// why returns the reason that stop gave, if it did.
func (l *link) why(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stopped != nil:
		return l.stopped
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errIdle
	}
	return err
}

func (l *link) write(p []byte) (int, error) {
	if err := l.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return l.nc.Write(p)
}

// extend gives the next bytes their time. A zero d leaves it as it is.
func (l *link) extend(d time.Duration) error {
	if d == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped != nil {
		return l.stopped
	}
	l.extended = time.Now()
	return l.nc.SetReadDeadline(l.extended.Add(d))
}

// stop makes a read under way return, and the next one fail, with err.
func (l *link) stop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped == nil {
		l.stopped = err
		l.nc.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // closed: it returns anyway
	}
}

// accept does the server's part of the handshake.
func (l *link) accept() error {
	first, err := l.chunks.in.Peek(1)
	if err != nil {
		return err
	}
	switch first[0] {
	case 3:
	case 6:
		return protocolError("RTMPE is not spoken; use RTMPS")
	case 22:
		return protocolError("TLS where plain RTMP is spoken; RTMPS has a port of its own")
	case 'G', 'P', 'H', 'O':
		return protocolError("HTTP where RTMP is spoken")
	default:
		return protocolError("version %d of the handshake", first[0])
	}
	_, _, err = handshake.DoServer(duplex{l.chunks.in, writerFunc(l.write)}, false)
	return err
}

// dial does the client's part.
func (l *link) dial() error {
	_, _, err := handshake.DoClient(duplex{l.chunks.in, writerFunc(l.write)}, false, false)
	return err
}

type duplex struct {
	io.Reader
	io.Writer
}

// next returns the next message that is not about the connection itself.
func (l *link) next() (message, error) {
	for {
		m, err := l.chunks.next()
		if err != nil {
			return m, err
		}
		if err := l.acknowledge(); err != nil {
			return m, err
		}
		switch m.typ {
		case typeSetChunkSize, typeAbort:
			err = l.chunks.control(m)
		case typeWindowAckSize:
			if len(m.body) >= 4 {
				l.window = uint64(binary.BigEndian.Uint32(m.body))
				if l.window > 0 {
					l.window = max(l.window, leastWindow)
				}
			}
		case typeUserControl:
			err = l.userControl(m.body)
		case typeAck, typePeerBandwidth:
		default:
			return m, nil
		}
		if err != nil {
			return m, err
		}
	}
}

// acknowledge tells the peer how much came, when it wants to know.
func (l *link) acknowledge() error {
	n := l.received.Load()
	if l.window == 0 || n-l.acked < l.window {
		return nil
	}
	l.acked = n
	return l.w.Write(&rtmpmsg.Acknowledge{Value: uint32(n)})
}

// userControl answers pings.
func (l *link) userControl(b []byte) error {
	const pingRequest = 6
	if len(b) < 6 || binary.BigEndian.Uint16(b) != pingRequest {
		return nil
	}
	return l.w.Write(&rtmpmsg.UserControlPingResponse{ServerTime: binary.BigEndian.Uint32(b[2:])})
}

// open says how we send.
func (l *link) open() error {
	return errors.Join(
		l.w.Write(&rtmpmsg.SetWindowAckSize{Value: windowSize}),
		l.w.Write(&rtmpmsg.SetPeerBandwidth{Value: windowSize, Type: 2}),
		l.w.Write(&rtmpmsg.SetChunkSize{Value: chunkSize}))
}

// A command is a command message (RTMP section 7.1.1): of NetConnection's or
// NetStream's.
type command struct {
	name string
	id   float64
	args []any // the command object first
}

// arg returns an argument, nil where there are not so many.
func (c command) arg(i int) any {
	if i >= len(c.args) {
		return nil
	}
	return c.args[i]
}

// parseCommand reads a command. Those of AMF3 carry AMF0 behind one byte.
func parseCommand(m message) (command, error) {
	body := m.body
	if m.typ == typeCommandAMF3 && len(body) > 0 {
		body = body[1:]
	}
	values, err := parseAMF(body)
	if err != nil {
		return command{}, err
	}
	if len(values) < 2 {
		return command{}, protocolError("a command of %d values", len(values))
	}
	c := command{args: values[2:]}
	c.name, _ = values[0].(string)
	c.id, _ = values[1].(float64)
	return c, nil
}

// send writes a command on a message stream, 0 being the connection's own.
func (l *link) send(stream uint32, name string, id float64, args ...any) error {
	m := &rtmpmsg.CommandAMF0{ChunkStreamID: commandStream, Name: name, CommandID: int(id), Arguments: args}
	if stream != 0 {
		m.ChunkStreamID, m.MessageStreamID = statusStream, stream<<24 // little-endian on the wire
	}
	return l.w.Write(m)
}

// status writes onStatus, whose level is "status" or "error".
func (l *link) status(stream uint32, level, code, description string) error {
	return l.send(stream, "onStatus", 0, nil, amf0.Object{
		{Key: "level", Value: level}, {Key: "code", Value: code}, {Key: "description", Value: description},
	})
}

// linger lets the peer read what was sent last before the connection is closed:
// to close with bytes unread would throw that away.
func (l *link) linger() {
	if tcp, ok := l.nc.(*net.TCPConn); ok {
		tcp.CloseWrite() //nolint:errcheck // then it is gone already
	} else if t, ok := l.nc.(*tls.Conn); ok {
		t.CloseWrite() //nolint:errcheck // as above
	}
	l.nc.SetReadDeadline(time.Now().Add(lingerTime))       //nolint:errcheck // as above
	io.Copy(io.Discard, io.LimitReader(l.nc, lingerBytes)) //nolint:errcheck // its end is all that is waited for
}

// A bucket limits a rate of bytes, with a second's worth in one go.
type bucket struct {
	rate, left float64 // bytes a second, bytes
	at         time.Time
}

func newBucket(rate int) bucket { return bucket{rate: float64(rate), left: float64(rate)} }

// take takes n bytes at now and returns how long to wait before the next.
func (k *bucket) take(now time.Time, n int) time.Duration {
	if !k.at.IsZero() {
		k.left = min(k.rate, k.left+now.Sub(k.at).Seconds()*k.rate)
	}
	k.at = now
	if k.left -= float64(n); k.left >= 0 {
		return 0
	}
	return time.Duration(-k.left / k.rate * float64(time.Second))
}

// refusal is an error with the code that the peer is told.
type refusal struct {
	code string
	err  error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Errorf("rtmp: "+format, args...)}
}

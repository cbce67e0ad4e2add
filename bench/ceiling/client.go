package ceiling

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/quic-go/quic-go"
)

func dial(ctx context.Context, addr, proto string) (*quic.Conn, error) {
	return quic.DialAddr(ctx, addr, &tls.Config{
		NextProtos: []string{proto}, MinVersion: tls.VersionTLS13,
		ServerName: "localhost", InsecureSkipVerify: true, //nolint:gosec // a server of our own, on this machine
	}, quicConfig())
}

// A Publisher sends groups to a Server.
type Publisher struct{ qc *quic.Conn }

// DialPublisher connects to the server at addr.
func DialPublisher(ctx context.Context, addr string) (*Publisher, error) {
	qc, err := dial(ctx, addr, protoPublish)
	if err != nil {
		return nil, fmt.Errorf("ceiling: publisher: %w", err)
	}
	return &Publisher{qc}, nil
}

// Close ends the connection; what is not sent yet is lost.
func (p *Publisher) Close() error { return p.qc.CloseWithError(0, "") }

// Group begins a group of a track. One goroutine writes it.
func (p *Publisher) Group(track uint8, group uint64) (*GroupWriter, error) {
	out, err := p.qc.OpenUniStream()
	if err != nil {
		return nil, fmt.Errorf("ceiling: group %d: %w", group, err)
	}
	return &GroupWriter{out: out, buf: appendHeader(nil, track, group)}, nil
}

// A GroupWriter sends one group.
type GroupWriter struct {
	out *quic.SendStream
	buf []byte
}

// WriteObject sends one object. It blocks until the transport has it.
func (w *GroupWriter) WriteObject(payload []byte) error {
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(payload)))
	w.buf = append(w.buf, payload...)
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// Close completes the group.
func (w *GroupWriter) Close() error { return w.out.Close() }

// A Viewer receives what the server hands out.
type Viewer struct {
	qc *quic.Conn
}

// DialViewer connects to the server at addr and waits until it counts as one of
// its viewers.
func DialViewer(ctx context.Context, addr string) (*Viewer, error) {
	qc, err := dial(ctx, addr, protoView)
	if err != nil {
		return nil, fmt.Errorf("ceiling: viewer: %w", err)
	}
	v := &Viewer{qc}
	in, err := qc.AcceptUniStream(ctx)
	if err == nil {
		var track uint8
		if track, _, err = readHeader(bufio.NewReaderSize(in, headerSize)); err == nil && track != welcome {
			err = fmt.Errorf("the first stream is of track %d", track)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ceiling: viewer: no welcome: %w", err), v.Close())
	}
	return v, nil
}

// Run hands each whole object to got until ctx or the connection ends, and
// returns the cause. got is called from one goroutine for each group; the
// payload is its own only until it returns.
func (v *Viewer) Run(ctx context.Context, got func(payload []byte)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		in, err := v.qc.AcceptUniStream(ctx)
		if err != nil {
			_ = v.Close() // ends those that read groups
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		wg.Go(func() { readGroup(in, got) })
	}
}

func readGroup(in *quic.ReceiveStream, got func(payload []byte)) {
	r := bufio.NewReader(in)
	if _, _, err := readHeader(r); err != nil {
		in.CancelRead(codeCut)
		return
	}
	var buf []byte
	for {
		n, err := readLength(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				in.CancelRead(codeCut)
			}
			return // the end, or a reset: the objects that are missing are counted as lost
		}
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			in.CancelRead(codeCut)
			return
		}
		got(buf[:n])
	}
}

// Close ends the connection.
func (v *Viewer) Close() error { return v.qc.CloseWithError(0, "") }

// Received returns what has arrived so far, in packets and in bytes of UDP
// payload.
func (v *Viewer) Received() (packets, bytes uint64) {
	st := v.qc.ConnectionStats()
	return st.PacketsReceived, st.BytesReceived
}

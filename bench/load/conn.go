package load

import (
	"context"
	"errors"
	"fmt"

	"github.com/broadcastd/broadcastd/bench/ceiling"
	"github.com/broadcastd/broadcastd/bench/mediamtx"
)

// A Party is what a run measures: a server, and how the load talks to it.
type Party string

// The parties.
const (
	Relay             Party = "relay"              // broadcastd serve, MoQ over raw QUIC
	RelayWebTransport Party = "relay-webtransport" // broadcastd serve, MoQ over WebTransport
	Ceiling           Party = "ceiling"            // bare quic-go, package ceiling
	MediaMTX          Party = "mediamtx"           // its subset of MoQ over raw QUIC
)

// Known reports whether p is one of the parties.
func (p Party) Known() bool {
	return p == Relay || p == RelayWebTransport || p == Ceiling || p == MediaMTX
}

// A Target is a server that is up.
type Target struct {
	Party Party  `json:"party"`
	Input Input  `json:"input,omitempty"`
	Addr  string `json:"addr"`           // of QUIC, for publishers and viewers
	HTTP  string `json:"http,omitempty"` // of the CMAF input
	RTMP  string `json:"rtmp,omitempty"`
}

// A publisherConn is the publishing end of a load. It belongs to one goroutine,
// a groupWriter to another.
type publisherConn interface {
	group(track int, group uint64) (groupWriter, error)
	// close ends the connection, or says how it failed.
	close() error
}

// A groupWriter sends one group. It may read payload until it returns.
type groupWriter interface {
	WriteObject(payload []byte) error
	Close() error
}

// A viewerConn is the receiving end of a load.
type viewerConn interface {
	// Subscribe asks for the media.
	Subscribe(ctx context.Context) error
	// Run hands every payload to got, from any goroutine, until ctx ends, and
	// returns its cause, or why the server left. The payload stays the viewer's.
	Run(ctx context.Context, got func(payload []byte)) error
	// Received returns the packets and the bytes of UDP payload so far.
	Received() (packets, bytes uint64)
	Close() error
}

// A staller can stop reading from its connection, in its own way.
type staller interface{ Stall() }

// dialPublisher connects to t.
func dialPublisher(ctx context.Context, t Target, prof Profile) (publisherConn, error) {
	if t.Input != InputMoQ {
		in, err := t.Input.info()
		if err != nil {
			return nil, err
		}
		return in.dial(ctx, t, prof)
	}
	switch t.Party {
	case Relay:
		return dialMoQPublisher(ctx, "moqt://"+t.Addr, prof)
	case RelayWebTransport:
		return dialMoQPublisher(ctx, "https://"+t.Addr, prof)
	case Ceiling:
		conn, err := ceiling.DialPublisher(ctx, t.Addr)
		return ceilingPublisher{conn}, err
	case MediaMTX:
		conn, err := mediamtx.DialPublisher(ctx, t.Addr, mtxTracks(prof))
		return mtxPublisher{conn}, err
	}
	return nil, t.Party.unknown()
}

// dialViewer connects to t. With tapped, the connection can stall and knows when
// media began to come.
func dialViewer(ctx context.Context, t Target, prof Profile, tapped bool) (viewerConn, error) {
	unpack := plain
	if t.Input != InputMoQ {
		unpack = unpackCMAF // whatever comes in goes out as CMAF
	}
	switch t.Party {
	case Relay:
		return dialMoQViewer(ctx, "moqt://"+t.Addr, prof, unpack, tapped)
	case RelayWebTransport:
		return dialMoQViewer(ctx, "https://"+t.Addr, prof, unpack, tapped)
	case Ceiling:
		v, err := ceiling.DialViewer(ctx, t.Addr)
		return ceilingViewer{v}, err
	case MediaMTX:
		v, err := mediamtx.DialViewer(ctx, t.Addr, mtxTracks(prof))
		return mtxViewer{v}, err
	}
	return nil, t.Party.unknown()
}

func (p Party) unknown() error { return fmt.Errorf("load: there is no party %q", string(p)) }

// unpack takes the objects of the load out of what a connection brought, and
// hands them to got.
type unpack func(payload []byte, got func([]byte))

func plain(payload []byte, got func([]byte)) { got(payload) }

type ceilingPublisher struct{ conn *ceiling.Publisher }

func (p ceilingPublisher) group(track int, group uint64) (groupWriter, error) {
	return p.conn.Group(uint8(track), group)
}
func (p ceilingPublisher) close() error { return p.conn.Close() }

// A ceilingViewer gets everything without asking.
type ceilingViewer struct{ *ceiling.Viewer }

func (ceilingViewer) Subscribe(context.Context) error { return nil }

// mtxTracks says what MediaMTX has to know of a profile: it reads the media.
func mtxTracks(prof Profile) []mediamtx.Track {
	var tracks []mediamtx.Track
	for _, t := range prof.Tracks {
		tracks = append(tracks, mediamtx.Track{Video: t.Video, Per: t.Per, Count: t.Count})
	}
	return tracks
}

type mtxPublisher struct{ conn *mediamtx.Publisher }

func (p mtxPublisher) group(track int, _ uint64) (groupWriter, error) {
	return p.conn.Group(track), nil
}
func (p mtxPublisher) close() error { return p.conn.Close() }

type mtxViewer struct{ *mediamtx.Viewer }

// errDone ends what has nothing more to do.
var errDone = errors.New("done")

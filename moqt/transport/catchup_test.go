package transport

import (
	"context"
	"testing"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A server answers every SUBSCRIBE with one track.
type server struct {
	moqt.Handler // nothing else is asked
	track        *track.Track
}

func (s server) HandleSubscribe(r *moqt.SubscribeRequest) { r.Accept(s.track) }

// BenchmarkCatchUp is a viewer that joins a track whose current group is large:
// a session sends 20 MB that are cached to another, over loopback.
func BenchmarkCatchUp(b *testing.B) {
	const objects, size = 80, 250_000
	name := track.Name{Namespace: track.MustNamespace("cam"), Name: "video"}
	tr := track.New(name, track.Info{}, track.Config{})
	w, err := tr.Subgroup(track.SubgroupHeader{Group: 1, FirstObject: true})
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, size)
	for id := range uint64(objects) {
		if err := w.WriteObject(track.Object{ID: id, Payload: payload}); err != nil {
			b.Fatal(err)
		}
	}
	for _, scheme := range []string{"moqt", "https"} {
		b.Run("scheme="+scheme, func(b *testing.B) {
			e := start(b, Config{Handle: func(ctx context.Context, conn moqt.Conn) {
				s, err := moqt.NewSession(conn, moqt.Config{Handler: server{track: tr}})
				if err != nil {
					b.Error(err)
					return
				}
				_ = s.Run(ctx)
			}})
			b.SetBytes(objects * size)
			for b.Loop() {
				catchUp(b, e, scheme, name, objects)
			}
		})
	}
}

// catchUp joins and reads all that is cached.
func catchUp(b *testing.B, e *env, scheme string, name track.Name, objects int) {
	b.Helper()
	conn, err := Dial(b.Context(), scheme+"://"+e.addr+"/", DialConfig{CertSHA256: [][]byte{e.pin()}})
	if err != nil {
		b.Fatal(err)
	}
	s, err := moqt.NewSession(conn, moqt.Config{})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(b.Context()) }()
	sub, err := s.Subscribe(b.Context(), name, track.SubscribeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	g, err := sub.Track().NewReader(track.CurrentGroup).NextGroup(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for range objects {
		if _, err := g.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	s.Close(wire.SessionNoError, "")
	<-done
}

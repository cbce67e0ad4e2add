package moqt_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// BenchmarkGroup sends groups of 30 objects from one session to another in
// memory: what the two ends cost without a network. The groups fit into what the
// egress hands over at once, so that its pace is not what is measured.
func BenchmarkGroup(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"object=100B", 100}, {"object=1KiB", 1 << 10}} {
		b.Run(size.name, func(b *testing.B) {
			cc, sc := moqttest.Pair(moqttest.Config{Window: 8 << 20})
			tr := newTrack()
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan struct{}, 2)
			sessions := make([]*moqt.Session, 2)
			for i, c := range []moqt.Conn{cc, sc} {
				s, err := moqt.NewSession(c, moqt.Config{Handler: handler{}})
				if err != nil {
					b.Fatal(err)
				}
				sessions[i] = s
				go func() {
					s.Run(ctx)
					done <- struct{}{}
				}()
			}
			defer func() {
				cancel()
				<-done
				<-done
			}()
			if _, err := sessions[0].Announce(ctx, cam, tracks{"video": tr}); err != nil {
				b.Fatal(err)
			}
			sub, err := sessions[1].Subscribe(ctx, video, track.SubscribeOptions{})
			if err != nil {
				b.Fatal(err)
			}
			r := sub.Track().NewReader(track.CurrentGroup)
			const objects = 30
			payload := make([]byte, size.bytes)
			b.SetBytes(int64(objects * size.bytes))
			b.ReportAllocs()
			for group := uint64(0); b.Loop(); group++ {
				w, err := tr.Subgroup(track.SubgroupHeader{Group: group, FirstObject: true, EndOfGroup: true})
				if err != nil {
					b.Fatal(err)
				}
				for id := range uint64(objects) {
					if err := w.WriteObject(track.Object{ID: id, Payload: payload}); err != nil {
						b.Fatal(err)
					}
				}
				w.Close()
				g, err := r.NextGroup(ctx)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = g.Next(ctx)
				}
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}

package moqt_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func datagram(alias, group, object uint64, payload string) wire.Datagram {
	return wire.Datagram{Alias: alias, Group: group, Object: object, Priority: 9, Payload: []byte(payload)}
}

// send sends datagrams and waits until they are taken.
func send(t *testing.T, p *moqttest.Peer, list ...wire.Datagram) {
	t.Helper()
	for _, d := range list {
		if err := p.Conn.SendDatagram(d.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

// arrived lists the datagrams that a track has taken.
func arrived(tr *track.Track) (list []string) {
	objects, _ := tr.Datagrams(0)
	for _, o := range objects {
		list = append(list, fmt.Sprintf("%v %s", o.Location(), o.Payload))
	}
	return list
}

// counted returns the value of broadcastd_moqt_requests_total.
func counted(t *testing.T, reg *prometheus.Registry, kind, outcome string) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			if f.GetName() == "broadcastd_moqt_requests_total" && labels["kind"] == kind && labels["outcome"] == outcome {
				n += m.Counter.GetValue()
			}
		}
	}
	return n
}

// TestDatagrams is about section 11.3, at the subscriber.
func TestDatagrams(t *testing.T) {
	t.Run("11.3 objects go into the track of their alias", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			sub, _ := subscribeOver(t, p, s, 4)
			props := wire.NewProperties(wire.KeyValue{Type: 0x3800, Uint: 5})
			send(t, p,
				datagram(4, 1, 0, "one"), datagram(4, 1, 1, "two"), datagram(4, 1, 1, "two"),
				wire.Datagram{Alias: 4, Group: 2, Object: 7, DefaultPriority: true, Properties: props},
				wire.Datagram{Alias: 4, Group: 2, Object: 8, Status: wire.ObjectEndOfGroup})
			if got, want := arrived(sub.Track()), []string{"{1, 0} one", "{1, 1} two", "{2, 7} ", "{2, 8} "}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			objects, _ := sub.Track().Datagrams(0)
			if o := objects[0]; o.Priority != 9 || !o.Datagram {
				t.Errorf("first object: %+v", o)
			}
			if o := objects[2]; o.Priority != track.DefaultPriority || string(o.Properties) != string(props) {
				t.Errorf("third object: %+v", o)
			}
			if l, _ := sub.Track().Largest(); l != at(2, 7) {
				t.Errorf("largest object %v", l)
			}
			p.ExpectOpen()
		})
	})
	t.Run("11.3.1 END_OF_GROUP", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			sub, st := subscribeOver(t, p, s, 4)
			last := datagram(4, 1, 1, "last")
			last.EndOfGroup = true
			send(t, p, last, datagram(4, 1, 2, "beyond"))
			st.ExpectStop(wire.ResetMalformedTrack)
			if code, _, _ := sub.Track().Ended(); code != track.DoneMalformedTrack {
				t.Errorf("track ended with %v", code)
			}
			p.ExpectOpen()
		})
	})
	t.Run("11.3 with the track's default priority", func(t *testing.T) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			out := subscribeAside(t, s)
			st := p.Accept()
			st.Message()
			st.Send(wire.SubscribeOK{TrackAlias: 4, Properties: wire.NewProperties(wire.KeyValue{Type: wire.PropDefaultPublisherPriority, Uint: 3})})
			sub := (<-out).sub
			send(t, p, wire.Datagram{Alias: 4, DefaultPriority: true})
			if objects, _ := sub.Track().Datagrams(0); len(objects) != 1 || objects[0].Priority != 3 {
				t.Errorf("got %+v", objects)
			}
		})
	})
}

// TestEarlyDatagrams is about datagrams that come before the message that tells
// their alias (section 11.3).
func TestEarlyDatagrams(t *testing.T) {
	reg := prometheus.NewRegistry()
	run := func(t *testing.T, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session)) {
		reg = prometheus.NewRegistry()
		script(t, true, moqttest.Config{}, moqt.Config{Registerer: reg, Handler: handler{
			publish: func(r *moqt.PublishRequest) { time.AfterFunc(time.Second, r.Accept) },
		}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			f(t, p, s)
			p.ExpectOpen()
		})
	}
	t.Run("11.3 wait for SUBSCRIBE_OK", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			out := subscribeAside(t, s)
			st := p.Accept()
			send(t, p, datagram(4, 1, 0, "one"), datagram(5, 1, 0, "other"), datagram(4, 1, 1, "two"))
			time.Sleep(time.Second)
			st.Send(wire.SubscribeOK{TrackAlias: 4})
			sub := (<-out).sub
			send(t, p, datagram(4, 1, 2, "three"))
			if got, want := arrived(sub.Track()), []string{"{1, 0} one", "{1, 1} two", "{1, 2} three"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			time.Sleep(2 * time.Second)
			if n := counted(t, reg, "datagram", "dropped"); n != 1 {
				t.Errorf("%v datagrams dropped, want that of alias 5", n)
			}
			if n := counted(t, reg, "datagram", "ok"); n != 3 {
				t.Errorf("%v datagrams taken", n)
			}
		})
	})
	t.Run("11.3 wait until PUBLISH is accepted", func(t *testing.T) {
		var tr *track.Track
		h := handler{publish: func(r *moqt.PublishRequest) {
			tr = r.Track()
			time.AfterFunc(time.Second, r.Accept)
		}}
		script(t, true, moqttest.Config{}, moqt.Config{Handler: h}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{})
			st := p.Open(wire.Publish{RequestID: 1, Track: video, TrackAlias: 4})
			send(t, p, datagram(4, 1, 0, "one"))
			if typ := st.Type(); typ != wire.TypeRequestOK {
				t.Fatalf("PUBLISH is answered with %v", typ)
			}
			if got, want := arrived(tr), []string{"{1, 0} one"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	})
	t.Run("11.3 are dropped after a while", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			out := subscribeAside(t, s)
			st := p.Accept()
			send(t, p, datagram(4, 1, 0, "one"))
			time.Sleep(3 * time.Second)
			st.Send(wire.SubscribeOK{TrackAlias: 4})
			if got := arrived((<-out).sub.Track()); len(got) != 0 {
				t.Errorf("got %q", got)
			}
			if n := counted(t, reg, "datagram", "dropped"); n != 1 {
				t.Errorf("%v datagrams dropped", n)
			}
		})
	})
	t.Run("are dropped with a PUBLISH that is refused", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			subscribeAside(t, s) // so that datagrams are read
			p.Accept()
			send(t, p, datagram(4, 1, 0, "one"))
			p.Open(wire.Publish{RequestID: 1, Track: track.Name{Namespace: cam, Name: "audio"}, TrackAlias: 4, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})}).
				ExpectError(wire.RequestUnsupportedExtension, wire.TypePublish)
			if n := counted(t, reg, "datagram", "dropped"); n != 1 {
				t.Errorf("%v datagrams dropped", n)
			}
		})
	})
	t.Run("11.1 of a cancelled alias are dropped at once", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			sub, _ := subscribeOver(t, p, s, 4)
			sub.Close()
			synctest.Wait()
			send(t, p, datagram(4, 1, 0, "one"))
			if n := counted(t, reg, "datagram", "dropped"); n != 1 {
				t.Errorf("%v datagrams dropped", n)
			}
		})
	})
	t.Run("are held within bounds", func(t *testing.T) {
		run(t, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			subscribeAside(t, s) // so that datagrams are read
			p.Accept()
			for i := range uint64(200) {
				send(t, p, datagram(4+i%3, 1, i, "x"))
			}
			if n := counted(t, reg, "datagram", "limited"); n != 200-64 {
				t.Errorf("%v datagrams dropped, want all but 64", n)
			}
			time.Sleep(3 * time.Second)
			if n := counted(t, reg, "datagram", "dropped"); n != 64 {
				t.Errorf("%v datagrams dropped later, want 64", n)
			}
		})
	})
}

// TestMalformed is about section 2.4.2: how a track that contradicts itself ends
// for its subscriber, and for those who have it from there.
func TestMalformed(t *testing.T) {
	ended := func(t *testing.T, tr *track.Track) {
		t.Helper()
		synctest.Wait()
		if code, _, _ := tr.Ended(); code != track.DoneMalformedTrack || !errors.Is(tr.Malformed(), wire.ErrMalformedTrack) {
			t.Errorf("track ended with %v, malformed: %v", code, tr.Malformed())
		}
	}
	// run subscribes to and fetches a track, which it also publishes.
	run := func(t *testing.T, play func(p *moqttest.Peer, sub, fetch *moqttest.PeerStream)) {
		script(t, true, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(solicit)
			tr := track.New(video, track.Info{}, track.Config{})
			over := make(chan error, 1)
			go func() {
				if _, err := s.SubscribeInto(t.Context(), video, tr, track.SubscribeOptions{}, func(err error) { over <- err }); err != nil {
					t.Error(err)
				}
			}()
			sub := p.Accept()
			sub.Type()
			sub.Send(wire.SubscribeOK{TrackAlias: 4})
			synctest.Wait()
			fetched := make(chan error, 1)
			s.FetchInto(video, groups12, moqt.FetchOptions{}, tr.Fill(groups12), func(moqt.FetchOK, error) {}, func(err error) { fetched <- err })
			fetch := p.Accept()
			fetch.Type()
			fetch.Send(wire.FetchOK{End: at(2, 0)})
			if _, err := s.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
				t.Fatal(err)
			}
			// Whoever has the track from us.
			reading := p.Open(wire.Subscribe{RequestID: 1, Track: video})
			if typ := reading.Type(); typ != wire.TypeSubscribeOK {
				t.Fatalf("SUBSCRIBE is answered with %v", typ)
			}
			tr.Report(at(2, 0))
			filling := p.Open(standalone(3, at(1, 0), at(2, 0)))
			expectOK(t, filling)
			data := p.AcceptUni()

			play(p, sub, fetch)
			ended(t, tr)
			sub.ExpectStop(wire.ResetMalformedTrack)
			fetch.ExpectStop(wire.ResetMalformedTrack)
			if err := <-fetched; !errors.Is(err, wire.ErrMalformedTrack) {
				t.Errorf("fetch ended with %v", err)
			}
			end, ok := errors.AsType[*track.EndError](<-over)
			if !ok || end.Code != track.DoneMalformedTrack {
				t.Errorf("subscription ended with %v", end)
			}
			for {
				typ, body := reading.Message()
				if typ != wire.TypePublishDone {
					continue
				}
				if m, err := wire.ParsePublishDone(body); err != nil || m.Status != wire.PublishDoneMalformedTrack {
					t.Errorf("PUBLISH_DONE %+v, %v", m, err)
				}
				break
			}
			data.ExpectReset(wire.ResetMalformedTrack)
			filling.ExpectReset(wire.ResetMalformedTrack)
			p.ExpectOpen()
		})
	}
	t.Run("2.4.2 a datagram with another payload", func(t *testing.T) {
		run(t, func(p *moqttest.Peer, _, _ *moqttest.PeerStream) {
			send(t, p, datagram(4, 3, 0, "one"), datagram(4, 3, 0, "two"))
		})
	})
	t.Run("2.4.2 a subgroup stream with a second priority", func(t *testing.T) {
		run(t, func(p *moqttest.Peer, _, _ *moqttest.PeerStream) {
			h := subgroup(4, 3)
			p.OpenUni(h, object("one"))
			synctest.Wait()
			h.DefaultPriority, h.Priority = false, 3
			p.OpenUni(h, object("one"))
		})
	})
	t.Run("2.4.2 a fetch with another payload", func(t *testing.T) {
		run(t, func(p *moqttest.Peer, _, _ *moqttest.PeerStream) {
			send(t, p, datagram(4, 1, 0, "one"))
			p.OpenUni(fetchHeader[:1], uint64(2), fetchItems(0, wire.FetchObject{Group: 1, Datagram: true, Priority: 9}))
		})
	})
}

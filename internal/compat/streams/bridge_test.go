package streams_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/compat/streams"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/publisher"
)

// A client that sends ftyp, moov, moof and mdat each as an object of its own is
// understood, whether it offers its namespace or its track.
func TestSimplePublisher(t *testing.T) {
	for _, how := range []string{"PUBLISH_NAMESPACE", "PUBLISH"} {
		for _, name := range []string{"keyframe.mp4", "cmaf.mp4"} {
			t.Run(how+"/"+name, func(t *testing.T) {
				run(t, func(t *testing.T, w *world) {
					pieces, want := fixture(t, name)
					recorder := w.record()
					client, _ := w.dial()
					s := newSDK(t)
					var err error
					if how == "PUBLISH" {
						_, err = client.Publish(w.ctx, s.tr)
					} else {
						_, err = client.Announce(w.ctx, ns, s)
					}
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
					half := len(pieces) / 2
					s.send(pieces[:half])
					early := w.read()
					time.Sleep(time.Second)
					s.send(pieces[half : half+2])
					late := w.read()
					time.Sleep(time.Second)
					s.send(pieces[half+2:])
					time.Sleep(100 * time.Millisecond)
					s.close()
					s.tr.End(track.DoneTrackEnded, "over")
					for _, x := range []*watching{recorder, early, late} {
						if err := <-x.done; err != nil {
							t.Errorf("Run: %v", err)
						}
					}
					wantAll(t, "recorder", &recorder.media, want, false)
					for who, x := range map[string]*watching{"reader": early, "late reader": late} {
						if x.count() == 0 || x.kinds[0] != "true/0" || slices.Contains(x.kinds[1:], "true/0") {
							t.Errorf("%s: chunks %v", who, x.kinds)
						}
						wantAll(t, who, &x.media, want, true)
					}
				})
			})
		}
	}
}

// A client that returns within the grace continues the broadcast, with group
// numbers and times of its own that start over.
func TestSimplePublisherReturns(t *testing.T) {
	for _, how := range []string{"PUBLISH_NAMESPACE", "PUBLISH"} {
		t.Run(how, func(t *testing.T) {
			run(t, func(t *testing.T, w *world) {
				pieces, want := fixture(t, "keyframe.mp4")
				offer := func() (s *sdk, cut func()) {
					client, cut := w.dial()
					s = newSDK(t)
					var err error
					if how == "PUBLISH" {
						_, err = client.Publish(w.ctx, s.tr)
					} else {
						_, err = client.Announce(w.ctx, ns, s)
					}
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(50 * time.Millisecond)
					return s, cut
				}
				recorder := w.record()
				s, cut := offer()
				s.send(pieces)
				w.want("cam connected=true")
				cut()
				s.close()
				time.Sleep(3 * time.Second)
				w.want("cam connected=false")
				s, cut = offer()
				s.send(pieces)
				w.want("cam connected=true")
				// A newer session takes over from one that has not gone.
				second, cutSecond := offer()
				second.send(pieces)
				w.want("cam connected=true")
				s.close()
				cut()
				time.Sleep(time.Second)
				w.want("cam connected=true")
				second.close()
				cutSecond()
				time.Sleep(6 * time.Second)
				w.want("")
				err := <-recorder.done
				if _, ok := errors.AsType[*track.EndError](err); err != nil && !ok {
					t.Errorf("Run: %v", err)
				}
				if got := recorder.count(); got != 3*want.count() {
					t.Errorf("%d samples, want three times %d", got, want.count())
				}
			})
		})
	}
}

// The newest input of a name has it, whatever its kind.
func TestOtherInputTakesOver(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		pieces, _ := fixture(t, "keyframe.mp4")
		client, _ := w.dial()
		s := newSDK(t)
		if _, err := client.Announce(w.ctx, ns, s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		s.send(pieces[:4])
		other := w.inputs.Connect("cam", ingest.Peer{Addr: "encoder"})
		d := cmaf.NewDemuxer(other, cmaf.DemuxerConfig{})
		if _, err := d.Write(slices.Concat(pieces...)); err != nil {
			t.Fatal(err)
		}
		s.send(pieces[4:])
		time.Sleep(5 * time.Second)
		if err := other.Err(); err != nil {
			t.Errorf("the encoder lost the name to a publisher that was there before: %v", err)
		}
		again, _ := w.dial()
		s2 := newSDK(t)
		if _, err := again.Announce(w.ctx, ns, s2); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		s2.send(pieces)
		if err := other.Err(); !errors.Is(err, ingest.ErrReplaced) {
			t.Errorf("the encoder: %v, want ErrReplaced by the newer session", err)
		}
	})
}

// A publisher with a catalog is passed on as it is.
func TestPublisherWithCatalogIsLeftAlone(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		client, _ := w.dial()
		p, err := publisher.New(ns, publisher.Config{})
		if err != nil {
			t.Fatal(err)
		}
		w.wg.Go(func() { p.Run(w.ctx, client) })
		pieces, want := fixture(t, "keyframe.mp4")
		recorder, single := w.record(), w.read()
		time.Sleep(time.Second)
		d := cmaf.NewDemuxer(publisher.NewTimeline(p, publisher.TimelineConfig{}), cmaf.DemuxerConfig{})
		if _, err := d.Write(slices.Concat(pieces...)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.want("")
		if err := errors.Join(d.Close(), p.Close(nil)); err != nil {
			t.Fatal(err)
		}
		for who, x := range map[string]*watching{"recorder": recorder, "reader": single} {
			if err := <-x.done; err != nil {
				t.Errorf("%s: %v", who, err)
			}
			wantAll(t, who, &x.media, want, false)
		}
	})
}

// A client may open one group, with its first object, and stay in it for ever.
func TestEndlessGroup(t *testing.T) {
	limits := track.Config{MaxObjectsPerGroup: 32, Roll: true}
	runWith(t, relay.Config{Session: moqt.Config{TrackConfig: limits}}, func(t *testing.T, w *world) {
		pieces, want := fixture(t, "everyframe.mp4")
		if len(pieces) < 3*limits.MaxObjectsPerGroup {
			t.Fatalf("%d boxes are too few", len(pieces))
		}
		client, _ := w.dial()
		s := newSDK(t)
		if _, err := client.Announce(w.ctx, ns, s); err != nil {
			t.Fatal(err)
		}
		recorder := w.record()
		time.Sleep(50 * time.Millisecond)
		for _, b := range pieces {
			s.object(b)
			time.Sleep(10 * time.Millisecond)
		}
		s.close()
		s.tr.End(track.DoneTrackEnded, "over")
		if err := <-recorder.done; err != nil {
			t.Error(err)
		}
		wantAll(t, "recorder", &recorder.media, want, false)
	})
}

// What is no media is no broadcast, and harms nobody.
func TestNonsense(t *testing.T) {
	run(t, func(t *testing.T, w *world) {
		client, _ := w.dial()
		s := newSDK(t)
		if _, err := client.Announce(w.ctx, ns, s); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		pieces, want := fixture(t, "keyframe.mp4")
		for _, b := range [][]byte{[]byte("hello, world"), make([]byte, 100), []byte("\x00\x00\x00\x10moov12345678"), []byte("\x7f\xff\xff\xffftypxxxx")} {
			s.object(b)
		}
		time.Sleep(time.Second)
		w.want("")
		recorder := w.record()
		s.cut()
		s.send(pieces[:4])
		s.object([]byte("\x00\x00\x00\x10moof12345678"))
		s.send(pieces[4:])
		time.Sleep(100 * time.Millisecond)
		w.want("cam connected=true")
		s.close()
		s.tr.End(track.DoneTrackEnded, "over")
		if err := <-recorder.done; err != nil {
			t.Error(err)
		}
		if got := recorder.count(); got < want.count()/2 {
			t.Errorf("%d samples of %d", got, want.count())
		}
	})
}

func TestConfig(t *testing.T) {
	if _, err := streams.New(streams.Config{Max: -1}); err == nil || !strings.Contains(err.Error(), "Inputs") || !strings.Contains(err.Error(), "Max is -1") {
		t.Errorf("New: %v", err)
	}
}

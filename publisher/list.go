package publisher

import (
	"slices"

	"github.com/broadcastd/broadcastd/moqt/track"
)

// A listener hears of the tracks that come.
type listener struct{ f func(*track.Track) }

// Tracks implements track.Lister. It tells of the catalogs and of the tracks
// that were added. Views are left out, SingleTrack among them: they show the same
// media again, and exist for who asks for their names.
func (p *Publisher) Tracks(f func(*track.Track)) (stop func()) {
	l := &listener{f}
	p.names.Lock()
	defer p.names.Unlock()
	p.listeners = append(p.listeners, l)
	for _, t := range p.listed {
		f(t)
	}
	return func() {
		p.names.Lock()
		defer p.names.Unlock()
		p.listeners = slices.DeleteFunc(p.listeners, func(o *listener) bool { return o == l })
	}
}

// setName makes a track known by its name.
func (p *Publisher) setName(t *track.Track) {
	p.names.Lock()
	defer p.names.Unlock()
	p.byName[t.Name().Name] = t
	p.listed = append(p.listed, t)
	for _, l := range p.listeners {
		l.f(t)
	}
}

// dropName makes a track unknown.
func (p *Publisher) dropName(t *track.Track) {
	p.names.Lock()
	defer p.names.Unlock()
	delete(p.byName, t.Name().Name)
	p.listed = slices.DeleteFunc(p.listed, func(o *track.Track) bool { return o == t })
}

package publisher

import (
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A catalogTrack is the catalog's track, under the Publisher's lock.
type catalogTrack struct {
	track     *track.Track // MSF's
	playback  *track.Track // of simple players: the same tracks by their init-first views
	next      uint64       // number of the next group, of both
	published bool         // the first catalog is out
	last      time.Time    // when the last one went out
	changed   bool         // it is not up to date
	force     bool         // the first one waits no longer
}

// due returns when the catalog has to go out next if nothing changes.
func (c *catalogTrack) due(p *Publisher) time.Time {
	at := p.cfg.Now().Add(time.Hour)
	if c.published {
		at = c.last.Add(p.cfg.CatalogInterval)
	}
	for _, t := range p.list {
		if d := t.added.Add(p.cfg.CatalogWait); !t.listed && d.Before(at) {
			at = d
		}
	}
	return at
}

// stepCatalog publishes the catalog when it is time to. A track enters it with
// its first chunk, or after CatalogWait; the first catalog waits for all.
func (p *Publisher) stepCatalog(now time.Time) error {
	c := &p.catalog
	ready, unlisted := true, false
	for _, t := range p.list {
		if t.listed {
			continue
		}
		unlisted = true
		if !t.came && now.Sub(t.added) < p.cfg.CatalogWait {
			ready = false
		}
	}
	if p.waiting > maxBacklog || c.force {
		ready = true
	}
	switch {
	case len(p.list) == 0 && !c.published:
		return nil
	case unlisted && ready, c.published && (c.changed || now.Sub(c.last) >= p.cfg.CatalogInterval):
		return p.publishCatalog(now, false)
	}
	return nil
}

// publishCatalog publishes the whole catalog as a new group: as it is, or as
// complete.
func (p *Publisher) publishCatalog(now time.Time, complete bool) error {
	doc, simple := catalog.Complete(now), catalog.CompletePlayback(now)
	if !complete {
		doc, simple = p.documents(now)
	}
	c := &p.catalog
	group := c.next
	c.next++
	if err := publishDocument(c.track, group, doc); err != nil {
		return err
	}
	c.published, c.changed, c.last = true, false, now
	return publishDocument(c.playback, group, simple)
}

// publishDocument writes doc as a group of tr.
func publishDocument(tr *track.Track, group uint64, doc interface{ Marshal() ([]byte, error) }) error {
	b, err := doc.Marshal()
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	w, err := tr.Subgroup(track.SubgroupHeader{
		Group: group, Priority: priorityCatalog, HasPriority: true, EndOfGroup: true, FirstObject: true,
	})
	if err != nil {
		return fmt.Errorf("publisher: %s: %w", tr.Name().Name, err)
	}
	if err := w.WriteObject(track.Object{Payload: b}); err != nil {
		return fmt.Errorf("publisher: %s: %w", tr.Name().Name, err)
	}
	return w.Close()
}

// documents describe every track that has brought media or had its time to.
func (p *Publisher) documents(now time.Time) (catalog.Catalog, catalog.Playback) {
	sources := make([]catalog.Source, 0, len(p.list))
	groups := make([]uint64, 0, len(p.list))
	for _, t := range p.list {
		t.listed = t.listed || t.came || p.catalog.force || now.Sub(t.added) >= p.cfg.CatalogWait
		if t.listed {
			sources = append(sources, catalog.Source{Name: t.name, Header: t.header})
			groups = append(groups, t.headerGroup)
		}
	}
	o := catalog.Options{GeneratedAt: now, MediaTimeOrigin: p.anchor, TargetLatency: p.cfg.TargetLatency}
	doc := catalog.New(sources, o)
	for i := range doc.Tracks {
		doc.Tracks[i].InitGroup = groups[i]
	}
	return doc, catalog.NewPlayback(sources, o)
}

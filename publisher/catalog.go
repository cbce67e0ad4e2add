package publisher

import (
	"fmt"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A catalogTrack is the catalog's track, under the Publisher's lock.
type catalogTrack struct {
	track     *track.Track
	next      uint64    // number of the next group
	published bool      // the first catalog is out
	last      time.Time // when the last one went out
	changed   bool      // it is not up to date
	force     bool      // the first one waits no longer
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
	doc := catalog.Complete(now)
	if !complete {
		doc = p.document(now)
	}
	b, err := doc.Marshal()
	if err != nil {
		return fmt.Errorf("publisher: catalog: %w", err)
	}
	c := &p.catalog
	w, err := c.track.Subgroup(track.SubgroupHeader{
		Group: c.next, Priority: priorityCatalog, HasPriority: true, EndOfGroup: true, FirstObject: true,
	})
	if err != nil {
		return fmt.Errorf("publisher: catalog: %w", err)
	}
	c.next++
	c.published, c.changed, c.last = true, false, now
	if err := w.WriteObject(track.Object{Payload: b}); err != nil {
		return fmt.Errorf("publisher: catalog: %w", err)
	}
	return w.Close()
}

// document describes every track that has brought media or had its time to.
func (p *Publisher) document(now time.Time) catalog.Catalog {
	sources := make([]catalog.Source, 0, len(p.list))
	groups := make([]uint64, 0, len(p.list))
	for _, t := range p.list {
		t.listed = t.listed || t.came || p.catalog.force || now.Sub(t.added) >= p.cfg.CatalogWait
		if t.listed {
			sources = append(sources, catalog.Source{Name: t.name, Header: t.header})
			groups = append(groups, t.headerGroup)
		}
	}
	doc := catalog.New(sources, catalog.Options{
		GeneratedAt: now, MediaTimeOrigin: p.anchor, TargetLatency: p.cfg.TargetLatency,
	})
	for i := range doc.Tracks {
		doc.Tracks[i].InitGroup = groups[i]
	}
	return doc
}

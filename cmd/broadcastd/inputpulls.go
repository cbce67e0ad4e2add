package main

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// pullInputs pulls for every live input whose settings say so, begins anew when
// they change, and stops when the input is deleted or no longer pulls. Whoever
// may make an input writes the URL, so that nothing but the public Internet and
// pull.allow is reached.
func (s *server) pullInputs(ctx context.Context) error {
	changed := newChanges()
	defer s.control.OnChange(func(c control.Change) {
		if c.Kind == control.KindInput {
			changed.add(c.ID)
		}
	})()
	for page := (control.Page{Limit: 500}); ; {
		list, err := s.control.Inputs(ctx, "", page)
		if err != nil {
			return err
		}
		for i := range list.Items {
			changed.add(list.Items[i].ID)
		}
		if page.After = list.Next; page.After == "" {
			break
		}
	}
	running := make(map[string]*inputPull)
	defer func() {
		for _, p := range running {
			p.end()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed.some:
		}
		for _, id := range changed.take() {
			s.pullInput(ctx, running, id)
		}
	}
}

// pullInput makes what runs for an input what its settings say.
func (s *server) pullInput(ctx context.Context, running map[string]*inputPull, id string) {
	in, err := s.control.Input(ctx, id)
	if err != nil {
		in = control.LiveInput{} // it was deleted
	}
	old := running[id]
	if old != nil && old.url == in.Settings.Pull || old == nil && in.Settings.Pull == "" {
		return
	}
	if old != nil {
		delete(running, id)
		old.end()
		s.log.Info("pull ended", "pull", old.name, "reason", "the input's settings changed")
	}
	if in.Settings.Pull == "" {
		return
	}
	p := &inputPull{name: nameOf(in), url: in.Settings.Pull, done: make(chan struct{})}
	pulling := pulling{url: p.url, allow: s.cfg.PullAllow}
	own, stop := context.WithCancel(ctx)
	p.stop = stop
	go func() {
		defer close(p.done)
		_ = s.pull(own, p.name, pulling) // ends with its context alone
	}()
	running[id] = p
}

// nameOf returns the name of a live input in the ingest.
func nameOf(in control.LiveInput) string {
	if slices.Equal(in.Namespace(), auth.Namespace(in.External)) {
		return in.External
	}
	return in.Org + "/" + in.External
}

// An inputPull is what runs for a live input.
type inputPull struct {
	name, url string
	stop      context.CancelFunc
	done      chan struct{}
}

// end stops it and waits until it has stopped.
func (p *inputPull) end() {
	p.stop()
	<-p.done
}

// changes collects the ids of what changed, each once.
type changes struct {
	some chan struct{} // one slot: there are some

	mu  sync.Mutex
	ids map[string]bool
}

func newChanges() *changes { return &changes{some: make(chan struct{}, 1), ids: make(map[string]bool)} }

// add notes that id changed. It does not block.
func (c *changes) add(id string) {
	c.mu.Lock()
	c.ids[id] = true
	c.mu.Unlock()
	select {
	case c.some <- struct{}{}:
	default:
	}
}

// take returns all ids that were added since.
func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := slices.Sorted(maps.Keys(c.ids))
	clear(c.ids)
	return ids
}

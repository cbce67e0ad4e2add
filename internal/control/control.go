// Package control keeps what the daemon is told to do: organisations, API keys,
// live inputs, stream keys, signing keys and sessions. Everything is read from
// memory and written through compare-and-set to a store; watches bring what
// others write.
//
// The organisation of what is asked for is part of the answer: callers check
// with Principal.May that whoever asks may know of it.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/internal/store"
)

// A Config configures a Service. Store and Secrets are needed.
type Config struct {
	Store   store.Store
	Secrets Secrets
	// AdminKey may do everything. Empty: nobody may.
	AdminKey string
	// PublicRelay is where viewers reach the relay, such as
	// moq://media.example:4443: the base of the URLs of playback tokens. Empty
	// leaves the URLs out.
	PublicRelay string
	// ImportFrom is a state directory whose keys that are files ImportKeys takes
	// over. Empty: none.
	ImportFrom string
	Limits     Limits
	Now        func() time.Time // nil means time.Now
	Log        *slog.Logger     // nil discards
}

// Limits bound what is kept. Zero fields mean the defaults.
type Limits struct {
	Orgs        int           // organisations; 1000
	Inputs      int           // live inputs of an organisation; 10,000
	APIKeys     int           // all of them, with those revoked; 10,000
	StreamKeys  int           // of an organisation, for names that no input has; 10,000
	SigningKeys int           // of an organisation; 100
	Sessions    int           // of an organisation; the oldest that ended go first; 10,000
	Events      int           // in all; 100,000
	EventAge    time.Duration // 7 days
	// KeepRevoked is how long keys are kept that count no longer, for people who
	// ask what has become of one: 90 days.
	KeepRevoked time.Duration
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Orgs: cmp.Or(l.Orgs, 1000), Inputs: cmp.Or(l.Inputs, 10_000), APIKeys: cmp.Or(l.APIKeys, 10_000),
		StreamKeys: cmp.Or(l.StreamKeys, 10_000), SigningKeys: cmp.Or(l.SigningKeys, 100),
		Sessions: cmp.Or(l.Sessions, 10_000), Events: cmp.Or(l.Events, 100_000),
		EventAge: cmp.Or(l.EventAge, 7*24*time.Hour), KeepRevoked: cmp.Or(l.KeepRevoked, 90*24*time.Hour),
	}
}

// LocalOrg is the organisation that is there from the start. Ad-hoc broadcasts
// are its.
const LocalOrg = "local"

// A Service answers and changes. Its methods may be called from any goroutine.
type Service struct {
	cfg   Config
	limit Limits
	admin []byte // keyed hash of the admin key

	mu       sync.RWMutex
	rev      uint64 // of the store, up to which memory holds everything
	orgs     *table[Org]
	apiKeys  *table[apiKeyRecord]
	inputs   *table[inputRecord]
	streams  *table[streamKeyRecord]
	tokens   *table[revokedToken]
	signing  *table[signingKeyRecord]
	sessions *table[Session]
	tables   []anyTable
	reserved map[string]int // what is being made, by kind and organisation

	external   map[string]string // input ids by external id
	streamKeys map[string]string // input ids by the id of their stream key
	jwks       []byte            // made when it is asked for
	runs       map[string]*runs  // sessions by namespace
	fed        map[string]bool   // sessions that something feeds
	used       map[string]time.Time
	live       Live

	hooks  hooks
	events notice
}

// Open reads everything from the store, brings records of older versions up to
// date, and makes what must be there: the organisation local, and a signing key
// for each organisation. It starts nothing.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("control: Config.Store is missing")
	}
	if err := cfg.Secrets.Check(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{
		cfg: cfg, limit: cfg.Limits.withDefaults(), reserved: make(map[string]int),
		external: make(map[string]string), streamKeys: make(map[string]string),
		runs: make(map[string]*runs), fed: make(map[string]bool), used: make(map[string]time.Time),
	}
	if cfg.AdminKey != "" {
		s.admin = cfg.Secrets.Hash("admin", cfg.AdminKey)
	}
	s.makeTables()
	if err := s.checkSecrets(ctx); err != nil {
		return nil, err
	}
	if err := errors.Join(s.load(ctx), s.openEvents(ctx)); err != nil {
		return nil, err
	}
	if cfg.ImportFrom != "" {
		if _, err := s.ImportKeys(ctx, cfg.ImportFrom); err != nil {
			return nil, err
		}
	}
	if err := s.heal(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// heal makes what must be there, and ends what a process that is gone left open.
func (s *Service) heal(ctx context.Context) error {
	if err := s.makeOrg(ctx, LocalOrg); err != nil {
		return err
	}
	s.mu.RLock()
	without := make(map[string]bool, len(s.orgs.rows))
	for id := range s.orgs.rows {
		without[id] = true
	}
	for _, r := range s.signing.rows {
		delete(without, r.rec.Org)
	}
	s.mu.RUnlock()
	for org := range without {
		if _, err := s.CreateSigningKey(ctx, org, ""); err != nil {
			return err
		}
	}
	return s.endInterrupted(ctx)
}

// tidyInterval is how often Run does what need not be done at once.
const tidyInterval = time.Minute

// Run follows what others write, trims the log of events and keeps when keys
// were last used, until ctx ends. It returns its cause, or why the store failed.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.follow(ctx) })
	g.Go(func() error {
		tick := time.NewTicker(tidyInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
			if err := s.tidy(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Log.Error("state not tidied", "err", err)
			}
		}
	})
	return g.Wait()
}

func (s *Service) tidy(ctx context.Context) error {
	return errors.Join(s.trimEvents(ctx), s.keepLastUsed(ctx), s.dropOld(ctx))
}

// follow takes in changes of the store.
func (s *Service) follow(ctx context.Context) error {
	s.mu.RLock()
	rev := s.rev
	s.mu.RUnlock()
	for {
		for c, err := range s.cfg.Store.Watch(ctx, "", rev) {
			if errors.Is(err, store.ErrCompacted) {
				s.cfg.Log.Warn("changes of the state were missed; reading all of it")
				break
			}
			if err != nil {
				return err
			}
			if err := s.apply(c); err != nil {
				s.cfg.Log.Error("change of the state not understood", "err", err)
			}
		}
		if err := s.load(ctx); err != nil {
			return err
		}
		s.mu.RLock()
		rev = s.rev
		s.mu.RUnlock()
	}
}

// Kinds of what a Change is about.
const (
	KindOrg        = "org"
	KindAPIKey     = "api-key"
	KindInput      = "input"
	KindStreamKey  = "stream-key"
	KindSigningKey = "signing-key"
	KindSession    = "session"
	KindToken      = "token" // a playback token that was taken back; its ID has a hash of the jti
)

// A Change says that something was made, changed or deleted.
type Change struct {
	Kind, ID string
	Org      string // empty for API keys, which may have several
	Deleted  bool
}

// OnChange has f called for every change after it holds in memory, until stop.
// f must not block, and asks the Service for what now is: calls for one thing
// may come in another order than its changes.
func (s *Service) OnChange(f func(Change)) (stop func()) { return s.hooks.add(f) }

// hooks are the functions of OnChange.
type hooks struct {
	mu   sync.Mutex
	next int
	list map[int]func(Change)
}

func (h *hooks) add(f func(Change)) (stop func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.list == nil {
		h.list = make(map[int]func(Change))
	}
	id := h.next
	h.next++
	h.list[id] = f
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.list, id)
	}
}

func (h *hooks) call(c Change) {
	h.mu.Lock()
	list := make([]func(Change), 0, len(h.list))
	for _, f := range h.list {
		list = append(list, f)
	}
	h.mu.Unlock()
	for _, f := range list {
		f(c)
	}
}

// A Page says which part of a list is wanted.
type Page struct {
	After string // List.Next of the part before; empty for the first
	Limit int    // 0 means 50, the most are 500
}

// A List is a part of a list, the oldest first.
type List[T any] struct {
	Items []T
	Next  string // empty: that was all
}

// Bounds of Page.Limit.
const (
	defaultPage = 50
	maxPage     = 500
)

// An item is a record with what it is ordered by.
type item[R any] struct {
	created time.Time
	id      string
	row     *row[R]
}

// cursor is the item's place in its list. It stays good when the item goes.
func (i item[R]) cursor() string {
	return fmt.Sprintf("%x.%s", i.created.UnixNano(), i.id)
}

func parseCursor(text string) (created time.Time, id string, err error) {
	stamp, id, ok := strings.Cut(text, ".")
	var nanos int64
	if _, err := fmt.Sscanf(stamp, "%x", &nanos); !ok || err != nil || len(text) > 200 {
		return time.Time{}, "", invalid("cursor", "%.40q is none that this server gave", text)
	}
	return time.Unix(0, nanos), id, nil
}

// list returns a part of the records that keep holds for, as show shows them.
func list[R, T any](s *Service, t *table[R], p Page, created func(*R) time.Time, keep func(*R) bool, show func(row[R]) T) (List[T], error) {
	if p.Limit < 0 || p.Limit > maxPage {
		return List[T]{}, invalid("limit", "%d, want 1 to %d", p.Limit, maxPage)
	}
	limit := cmp.Or(p.Limit, defaultPage)
	order := func(a, b item[R]) int {
		return cmp.Or(a.created.Compare(b.created), strings.Compare(a.id, b.id))
	}
	var from item[R]
	if p.After != "" {
		var err error
		if from.created, from.id, err = parseCursor(p.After); err != nil {
			return List[T]{}, err
		}
	}
	var items []item[R]
	s.mu.RLock()
	for id, r := range t.rows {
		it := item[R]{created(&r.rec), id, r}
		if keep(&r.rec) && (p.After == "" || order(it, from) > 0) {
			items = append(items, it)
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(items, order)
	out := List[T]{Items: make([]T, 0, min(limit, len(items)))}
	for _, it := range items[:min(limit, len(items))] {
		out.Items = append(out.Items, show(*it.row)) // nobody changes a row
	}
	if len(items) > limit {
		out.Next = items[limit-1].cursor()
	}
	return out, nil
}

// ofOrg chooses the records of an organisation, or all if it is empty.
func ofOrg[R any](t *table[R], org string) func(*R) bool {
	return func(rec *R) bool { return org == "" || t.org(rec) == org }
}

// now returns the time as records hold it.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

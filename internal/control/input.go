package control

import (
	"context"
	"encoding/hex"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control/sealing"
)

// A LiveInput is a configured place to publish.
type LiveInput struct {
	ID       string // li_…
	External string // lv_…, the name in URLs
	Org      string
	Name     string
	Ingest   auth.Ingest // the protocol that feeds it
	Settings InputSettings
	// Status is what becomes of it: idle, live or errored.
	Status   string
	Created  time.Time
	Updated  time.Time
	Revision uint64
	// StreamKeyID is the public part of its stream key.
	StreamKeyID string
	// Passphrases says how many SRT passphrases count: 0, 1, or 2 after one was
	// rotated.
	Passphrases int
}

// Namespace returns the namespace that the input is published in.
func (i LiveInput) Namespace() []string { return []string{"stream", i.Org, i.External} }

// The states of a live input.
const (
	InputIdle    = "idle"
	InputLive    = "live"
	InputErrored = "errored" // what fed it last failed
)

// InputSettings are what can be set of a live input. The zero value is the
// default.
type InputSettings struct {
	AnyIngest bool `json:"anyIngest,omitempty"` // every protocol may feed it
	// AllowFrom is where its publisher may come from; empty: from anywhere.
	AllowFrom []netip.Prefix `json:"allowFrom,omitempty"`
	// Takeover says what becomes of a publisher when another one comes: "replace",
	// the default, or "refuse" the new one.
	Takeover          string        `json:"takeover,omitempty"`
	MaxBitrate        int64         `json:"maxBitrate,omitempty"`        // bit/s; 0: no limit
	MaxTracks         int           `json:"maxTracks,omitempty"`         // 0: the daemon's
	GroupDuration     time.Duration `json:"groupDuration,omitempty"`     // 0: the daemon's
	RequireEncryption bool          `json:"requireEncryption,omitempty"` // of the publisher's connection
	Record            bool          `json:"record,omitempty"`
	StartoverWindow   time.Duration `json:"startoverWindow,omitempty"` // how far back viewers may go
	// Backup is the external id of another input, or a URL, that takes over when
	// the publisher is lost.
	Backup string `json:"-"`
	// Pull is a URL that the input fetches from. It may hold a password: show it
	// with url.URL.Redacted only. It is encrypted where it is kept, and so is
	// Backup.
	Pull string `json:"-"`
}

// inputRecord is how a live input is kept. Its stream key is part of it, so that
// there is never one without the other.
type inputRecord struct {
	ID          string         `json:"id"`
	External    string         `json:"externalId"`
	Org         string         `json:"org"`
	Name        string         `json:"name"`
	Ingest      auth.Ingest    `json:"ingest"`
	Settings    InputSettings  `json:"settings"`
	Backup      *sealing.Box   `json:"backup,omitempty"`
	Pull        *sealing.Box   `json:"pull,omitempty"`
	Key         inputKey       `json:"key"`
	Passphrases []*sealing.Box `json:"passphrases,omitempty"` // the newest first
	Created     time.Time      `json:"created"`
	Updated     time.Time      `json:"updated"`
	// open is what was encrypted, readable.
	open openedInput
}

type inputKey struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
}

type openedInput struct {
	backup, pull string
	passphrases  []string
}

// A NewInput says what a live input is to be.
type NewInput struct {
	Org      string      // must exist
	Name     string      // 1 to 200 bytes
	Ingest   auth.Ingest // empty: fmp4
	Settings InputSettings
}

// CreateInput makes a live input with a stream key, which is shown once.
func (s *Service) CreateInput(ctx context.Context, n NewInput) (LiveInput, string, error) {
	if n.Ingest == "" {
		n.Ingest = auth.FMP4
	}
	if err := s.needOrg(ctx, n.Org); err != nil {
		return LiveInput{}, "", err
	}
	if !slices.Contains([]auth.Ingest{auth.FMP4, auth.WHIP, auth.RTMP, auth.SRT, auth.HLS}, n.Ingest) {
		return LiveInput{}, "", invalid("ingest", "there is no %.20q; there are fmp4, whip, rtmp, srt and hls", n.Ingest)
	}
	release, err := s.reserve(KindInput, n.Org, s.limit.Inputs, func() int { return s.inputs.ofOrg[n.Org] })
	if err != nil {
		return LiveInput{}, "", err
	}
	defer release()
	now := s.now()
	rec := inputRecord{
		ID: "li_" + randomText(idBytes), External: "lv_" + randomText(idBytes), Org: n.Org,
		Ingest: n.Ingest, Created: now, Updated: now,
	}
	if err := s.setInput(&rec, n.Settings, n.Name); err != nil {
		return LiveInput{}, "", err
	}
	cleartext := s.newStreamKey(&rec.Key)
	r, err := create(ctx, s, s.inputs, rec)
	if err != nil {
		return LiveInput{}, "", err
	}
	return s.liveInput(r), cleartext, s.emitInput(ctx, "input.created", r.rec)
}

// newStreamKey makes a stream key, sk_live_<id>_<secret>.
func (s *Service) newStreamKey(k *inputKey) (cleartext string) {
	cleartext, id, secret := auth.NewStreamKey()
	*k = inputKey{ID: id, Hash: auth.HashSecret(s.cfg.Secrets.Pepper, secret), Created: s.now()}
	return cleartext
}

// setInput checks settings and puts them into a record.
func (s *Service) setInput(rec *inputRecord, set InputSettings, name string) error {
	if err := checkText("name", name, maxText); err != nil {
		return err
	}
	if err := set.check(rec.Ingest); err != nil {
		return err
	}
	rec.Name, rec.Settings = name, set
	rec.Settings.AllowFrom = slices.Clone(set.AllowFrom)
	rec.Settings.Pull, rec.Settings.Backup = "", ""
	// What did not change stays as it is: it would be another text each time.
	if set.Pull != rec.open.pull || rec.Pull == nil {
		rec.Pull = s.sealText(rec.ID, "pull", set.Pull)
	}
	if set.Backup != rec.open.backup || rec.Backup == nil {
		rec.Backup = s.sealText(rec.ID, "backup", set.Backup)
	}
	return nil
}

func (s *Service) sealText(record, field, text string) *sealing.Box {
	if text == "" {
		return nil
	}
	return s.cfg.Secrets.Seal(record, field, []byte(text))
}

// The bounds of what can be set.
const (
	maxAllowFrom  = 64
	maxInputRate  = int64(1e9) // bit/s
	minInputRate  = int64(1e4)
	maxInputTrack = 64
	maxURL        = 2048 // bytes
	maxStartover  = 24 * time.Hour
	minGroup      = 100 * time.Millisecond
	maxGroup      = 30 * time.Second
)

func (set InputSettings) check(ingest auth.Ingest) error {
	switch {
	case len(set.AllowFrom) > maxAllowFrom:
		return invalid("settings.allowFrom", "%d prefixes, at most %d", len(set.AllowFrom), maxAllowFrom)
	case slices.ContainsFunc(set.AllowFrom, func(p netip.Prefix) bool { return !p.IsValid() }):
		return invalid("settings.allowFrom", "one of them is no address and no prefix")
	case set.Takeover != "" && set.Takeover != "replace" && set.Takeover != "refuse":
		return invalid("settings.takeover", "%.20q, want replace or refuse", set.Takeover)
	case set.MaxBitrate != 0 && (set.MaxBitrate < minInputRate || set.MaxBitrate > maxInputRate):
		return invalid("settings.maxBitrate", "%d bit/s, want %d to %d, or 0 for no limit", set.MaxBitrate, minInputRate, maxInputRate)
	case set.MaxTracks < 0 || set.MaxTracks > maxInputTrack:
		return invalid("settings.maxTracks", "%d, want 0 to %d", set.MaxTracks, maxInputTrack)
	case set.GroupDuration != 0 && (set.GroupDuration < minGroup || set.GroupDuration > maxGroup):
		return invalid("settings.groupDuration", "%v, want %v to %v", set.GroupDuration, minGroup, maxGroup)
	case set.StartoverWindow < 0 || set.StartoverWindow > maxStartover:
		return invalid("settings.startoverWindow", "%v, want 0 to %v", set.StartoverWindow, maxStartover)
	case set.Pull != "" && ingest != auth.HLS:
		return invalid("settings.pull", "an input of the protocol %s is pushed to; one that pulls has the protocol hls", ingest)
	}
	if err := checkURL("settings.pull", set.Pull); err != nil {
		return err
	}
	if strings.HasPrefix(set.Backup, "lv_") {
		return checkText("settings.backup", set.Backup, maxText)
	}
	return checkURL("settings.backup", set.Backup)
}

// checkURL checks a URL of HTTP. The error does not quote it: it may hold a
// password.
func checkURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURL || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return invalid(field, "want an http or https URL of at most %d bytes", maxURL)
	}
	return nil
}

// openInput checks a record and reads what is encrypted in it.
func (s *Service) openInput(rec *inputRecord) error {
	pull, err := s.cfg.Secrets.Unseal(rec.ID, "pull", rec.Pull)
	if err != nil {
		return err
	}
	backup, err := s.cfg.Secrets.Unseal(rec.ID, "backup", rec.Backup)
	if err != nil {
		return err
	}
	rec.open = openedInput{pull: string(pull), backup: string(backup)}
	for _, box := range rec.Passphrases {
		text, err := s.cfg.Secrets.Unseal(rec.ID, "passphrase", box)
		if err != nil {
			return err
		}
		rec.open.passphrases = append(rec.open.passphrases, string(text))
	}
	if hash, err := hex.DecodeString(rec.Key.Hash); err != nil || len(hash) != sealing.Size || rec.Key.ID == "" || rec.External == "" || rec.Org == "" {
		return invalid("", "it lacks its key, its external id or its organisation")
	}
	return nil
}

// findInput returns the id of an input from its id or its external id.
func (s *Service) findInput(id string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if own, ok := s.external[id]; ok {
		return own
	}
	return id
}

// Input returns a live input by its id or its external id.
func (s *Service) Input(_ context.Context, id string) (LiveInput, error) {
	r, ok := get(s, s.inputs, s.findInput(id))
	if !ok {
		return LiveInput{}, s.inputs.missing(id)
	}
	return s.liveInput(r), nil
}

// Inputs lists the live inputs of an organisation, or all if org is empty.
func (s *Service) Inputs(_ context.Context, org string, p Page) (List[LiveInput], error) {
	return list(s, s.inputs, p, func(i *inputRecord) time.Time { return i.Created }, ofOrg(s.inputs, org), s.liveInput)
}

// UpdateInput changes settings and name of a live input. Its revision must be
// rev, if that is not 0. change may be called several times.
func (s *Service) UpdateInput(ctx context.Context, id string, rev uint64, change func(set *InputSettings, name *string) error) (LiveInput, error) {
	return s.changeInput(ctx, id, rev, "input.updated", func(rec *inputRecord) error {
		set, name := rec.settings(), rec.Name
		if err := change(&set, &name); err != nil {
			return err
		}
		return s.setInput(rec, set, name)
	})
}

// settings returns all settings, readable.
func (rec *inputRecord) settings() InputSettings {
	set := rec.Settings
	set.AllowFrom = slices.Clone(set.AllowFrom)
	set.Pull, set.Backup = rec.open.pull, rec.open.backup
	return set
}

// changeInput changes a live input and, if it is another one then, tells of it.
func (s *Service) changeInput(ctx context.Context, id string, rev uint64, event string, change func(*inputRecord) error) (LiveInput, error) {
	id = s.findInput(id)
	before, _ := get(s, s.inputs, id)
	r, err := update(ctx, s, s.inputs, id, rev, func(rec *inputRecord) error {
		was, err := s.inputs.encode(rec)
		if err != nil {
			return err
		}
		if err := change(rec); err != nil {
			return err
		}
		if is, err := s.inputs.encode(rec); err != nil || string(is) == string(was) {
			return err
		}
		rec.Updated = s.now()
		return nil
	})
	if err != nil || r.rev == before.rev {
		return s.liveInput(r), err
	}
	return s.liveInput(r), s.emitInput(ctx, event, r.rec)
}

// DeleteInput deletes a live input: what publishes to it is cut off.
func (s *Service) DeleteInput(ctx context.Context, id string, rev uint64) error {
	var rec inputRecord
	err := remove(ctx, s, s.inputs, s.findInput(id), rev, func(r *inputRecord) error {
		rec = *r
		return nil
	})
	if err != nil {
		return err
	}
	return s.emitInput(ctx, "input.deleted", rec)
}

// RotateStreamKey gives a live input another stream key, which is shown once.
// The old one counts no longer.
func (s *Service) RotateStreamKey(ctx context.Context, id string) (in LiveInput, cleartext string, err error) {
	in, err = s.changeInput(ctx, id, 0, "input.key_rotated", func(rec *inputRecord) error {
		cleartext = s.newStreamKey(&rec.Key)
		return nil
	})
	return in, cleartext, err
}

// Bounds of an SRT passphrase (SRT section 6.1.2: KEK derivation), in bytes.
const (
	minPassphrase = 10
	maxPassphrase = 79
)

// SetPassphrase gives a live input an SRT passphrase in the place of all it has.
// An empty one takes them away.
func (s *Service) SetPassphrase(ctx context.Context, id, passphrase string) (LiveInput, error) {
	if n := len(passphrase); n > 0 && (n < minPassphrase || n > maxPassphrase) {
		return LiveInput{}, invalid("passphrase", "%d bytes, want %d to %d", n, minPassphrase, maxPassphrase)
	}
	return s.changeInput(ctx, id, 0, "input.passphrase_changed", func(rec *inputRecord) error {
		rec.Passphrases = nil
		if passphrase != "" {
			rec.Passphrases = []*sealing.Box{s.sealText(rec.ID, "passphrase", passphrase)}
		}
		rec.open.passphrases = nil
		return nil
	})
}

// RotatePassphrase gives a live input a new SRT passphrase, which it returns.
// The one before stays good until the next time.
func (s *Service) RotatePassphrase(ctx context.Context, id string) (in LiveInput, passphrase string, err error) {
	in, err = s.changeInput(ctx, id, 0, "input.passphrase_changed", func(rec *inputRecord) error {
		passphrase = randomText(secretBytes)
		rec.Passphrases = append([]*sealing.Box{s.sealText(rec.ID, "passphrase", passphrase)}, rec.Passphrases...)
		rec.Passphrases = rec.Passphrases[:min(2, len(rec.Passphrases))]
		return nil
	})
	return in, passphrase, err
}

// liveInput returns what the API shows of a row.
func (s *Service) liveInput(r row[inputRecord]) LiveInput {
	i := &r.rec
	return LiveInput{
		ID: i.ID, External: i.External, Org: i.Org, Name: i.Name, Ingest: i.Ingest, Settings: i.settings(),
		Status: s.inputStatus(i.Org, i.External), Created: i.Created, Updated: i.Updated, Revision: r.rev,
		StreamKeyID: i.Key.ID, Passphrases: len(i.Passphrases),
	}
}

func (s *Service) emitInput(ctx context.Context, event string, rec inputRecord) error {
	return s.Emit(ctx, Event{Type: event, Org: rec.Org, Input: rec.External, Data: map[string]any{"id": rec.ID, "name": rec.Name}})
}

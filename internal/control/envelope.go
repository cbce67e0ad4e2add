package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/broadcastd/broadcastd/internal/store"
)

// maxRecord bounds a record in bytes, as it is kept.
const maxRecord = 128 << 10

// envelope is how a record is kept.
type envelope struct {
	Schema int             `json:"schema"`
	Record json.RawMessage `json:"record"`
}

func (k *kind[R]) encode(rec *R) ([]byte, error) {
	text, err := json.Marshal(rec)
	if err != nil {
		return nil, invalid("", "it cannot be written as JSON")
	}
	if len(text) > maxRecord {
		return nil, fail(Exhausted, "the %s would have %d bytes, at most %d", k.name, len(text), maxRecord)
	}
	return json.Marshal(envelope{k.schema, text})
}

// decode reads a record of the present version.
func (k *kind[R]) decode(e store.Entry) (*R, error) {
	var env struct {
		Schema int `json:"schema"`
		Record *R  `json:"record"`
	}
	dec := json.NewDecoder(bytes.NewReader(e.Value))
	dec.DisallowUnknownFields() // they would be lost with the next write
	err := dec.Decode(&env)
	if _, end := dec.Token(); err != nil || end != io.EOF || env.Schema != k.schema || env.Record == nil {
		return nil, k.fault(e)
	}
	rec := env.Record
	if id := k.id(rec); k.prefix+id != e.Key {
		return nil, fmt.Errorf("control: %s holds a %s of another id", e.Key, k.name)
	}
	if k.check != nil {
		if err := k.check(rec); err != nil {
			return nil, fmt.Errorf("control: %s: %w", e.Key, err)
		}
	}
	return rec, nil
}

// fault says why an entry is no record of the present version, and quotes none of
// what it holds.
func (k *kind[R]) fault(e store.Entry) error {
	version, _, err := k.open(e)
	switch {
	case err != nil:
		return err
	case version != k.schema:
		return fmt.Errorf("%w: %s has version %d, want %d", errOlder, e.Key, version, k.schema)
	}
	return fmt.Errorf("control: %s is no %s", e.Key, k.name)
}

// errOlder is what decode fails with for a record that has to be migrated.
var errOlder = errors.New("control: a record of an older version")

// ErrNewer reports a record that a newer version of broadcastd has written.
var ErrNewer = errors.New("control: the state was written by a newer version of broadcastd")

func (k *kind[R]) open(e store.Entry) (version int, text json.RawMessage, err error) {
	var env envelope
	if err := json.Unmarshal(e.Value, &env); err != nil || env.Schema < 1 || env.Record == nil {
		return 0, nil, fmt.Errorf("control: %s is no record", e.Key)
	}
	if env.Schema > k.schema {
		return 0, nil, fmt.Errorf("%w: %s has version %d of its records, this one reads up to %d; run the newer version, or restore a copy of the state directory from before",
			ErrNewer, e.Key, env.Schema, k.schema)
	}
	return env.Schema, env.Record, nil
}

// migrate brings a record of an older version to the present one, in the store
// too.
func (t *table[R]) migrate(ctx context.Context, s *Service, e store.Entry) (store.Entry, error) {
	version, text, err := t.open(e)
	if err != nil {
		return e, err
	}
	for ; version < t.schema; version++ {
		if text, err = t.migrations[version-1](text); err != nil {
			return e, fmt.Errorf("control: %s cannot be brought from version %d to %d: %w", e.Key, version, version+1, err)
		}
	}
	if e.Value, err = json.Marshal(envelope{t.schema, text}); err != nil {
		return e, err
	}
	if _, err := t.decode(e); err != nil {
		return e, err
	}
	if e.Revision, err = s.cfg.Store.Put(ctx, e.Key, e.Value, e.Revision); err != nil {
		return e, failed("write "+e.Key+" in its new version", err)
	}
	return e, nil
}

// Package store keeps small state: values under keys, each with the revision of
// its last write, and append-only logs. A Store is one of its drivers; storetest
// holds what every driver must do.
//
// A write is durable when it returns: it survives the end of the process, and of
// the machine as far as the disk keeps what it acknowledged.
package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
)

// Errors to branch on. What a Store returns wraps them.
var (
	// ErrNotFound reports that no value has that key.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict reports that a value has another revision than the writer said.
	ErrConflict = errors.New("store: the value has changed")
	// ErrCompacted reports that a watch asked for changes that are not kept any
	// more, or fell behind: read everything again and watch from there.
	ErrCompacted = errors.New("store: those changes are not kept any more")
	// ErrInUse reports that another process has the store open.
	ErrInUse = errors.New("store: another process has it open")
	// ErrClosed reports that the store was closed.
	ErrClosed = errors.New("store: closed")
	// ErrTooLarge reports a value or a record of more than MaxValue bytes.
	ErrTooLarge = errors.New("store: too large")
	// ErrBadName reports a key or the name of a log that is none.
	ErrBadName = errors.New("store: bad name")
)

// Bounds that hold for every driver.
const (
	MaxValue = 1 << 20 // bytes of a value or a record
	MaxName  = 256     // bytes of a key, a prefix or the name of a log
	MaxPage  = 1000    // entries or records that one call returns
)

// Revisions that a writer may state besides that of the entry it read.
const (
	// New is for a key that has no value yet.
	New uint64 = 0
	// AnyRevision overwrites, or deletes, whatever is there.
	AnyRevision uint64 = 1<<64 - 1
)

// A Store keeps state. Its methods may be called from any goroutine; Close comes
// last. What they return belongs to the caller, and they keep nothing of what
// they are given.
//
// If ctx ends while a write waits, the error is that of ctx and the write has
// not happened; one that has begun is waited for.
type Store interface {
	// Get returns the entry of a key, or ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)

	// Put writes a value if the key has the revision rev, New or AnyRevision,
	// and returns its new one. Otherwise the error is ErrConflict.
	Put(ctx context.Context, key string, value []byte, rev uint64) (uint64, error)

	// Delete removes a key if it has the revision rev, or AnyRevision, and
	// returns the revision of the deletion. The errors are ErrNotFound and
	// ErrConflict.
	Delete(ctx context.Context, key string, rev uint64) (uint64, error)

	// List returns the entries whose keys begin with prefix and are greater than
	// after, in ascending order of keys: at most limit of them, or MaxPage if
	// that is 0 or more. They are of one moment.
	List(ctx context.Context, prefix, after string, limit int) ([]Entry, error)

	// Revision returns the revision of the last write, which a reader of
	// everything takes first and then watches from. Revisions only grow.
	Revision(ctx context.Context) (uint64, error)

	// Watch yields every change of keys that begin with prefix, in order, whose
	// revision is greater than after, then those to come, until ctx ends or the
	// store is closed. It misses none: if it would, it yields ErrCompacted. An
	// error is the last thing it yields.
	Watch(ctx context.Context, prefix string, after uint64) iter.Seq2[Change, error]

	// Append adds a record to a log, which is made when it has none. Sequence
	// numbers begin with 1 and are consecutive; times never run backwards.
	Append(ctx context.Context, log string, data []byte) (seq uint64, err error)

	// Read returns records whose numbers are greater than after, in order, at
	// most limit, or MaxPage. Those that were trimmed away are missing.
	Read(ctx context.Context, log string, after uint64, limit int) ([]Record, error)

	// ReadSince is Read from the first record on that is not older than since.
	ReadSince(ctx context.Context, log string, since time.Time, limit int) ([]Record, error)

	// Bounds returns the numbers of the first and the last record of a log.
	// first is last + 1 if all were trimmed away; both are 0 before the first.
	Bounds(ctx context.Context, log string) (first, last uint64, err error)

	// Trim removes the oldest records of a log: those past the newest keep, if
	// keep is more than 0, and those older than age, if age is more than 0. It
	// removes at most MaxTrim at a time and says how many.
	Trim(ctx context.Context, log string, keep int, age time.Duration) (removed int, err error)

	Close() error
}

// MaxTrim bounds how many records one call of Trim removes, because others wait
// for it.
const MaxTrim = 10_000

// An Entry is a value with its key and the revision of its last write.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
}

// A Change is a write or a deletion of a key.
type Change struct {
	Entry
	Deleted bool // Value is nil then
}

// A Record is one of a log.
type Record struct {
	Seq  uint64
	Time time.Time
	Data []byte
}

// CheckName checks a key, or the name of a log: fields of letters, digits and
// - _ . that "/" separates, none of them empty, "." or "..".
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadName, len(name), MaxName)
	}
	for field := range strings.SplitSeq(name, "/") {
		if field == "" || field == "." || field == ".." {
			return fmt.Errorf("%w: %q has a field %q", ErrBadName, name, field)
		}
	}
	return checkBytes(name)
}

// CheckPrefix checks the prefix of keys, which may be empty.
func CheckPrefix(prefix string) error {
	if len(prefix) > MaxName {
		return fmt.Errorf("%w: a prefix of %d bytes, at most %d", ErrBadName, len(prefix), MaxName)
	}
	return checkBytes(prefix)
}

func checkBytes(name string) error {
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '/':
		default:
			return fmt.Errorf("%w: %q holds %q", ErrBadName, name, c)
		}
	}
	return nil
}

// CheckWrite checks what is to be written.
func CheckWrite(name string, value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: %s would have %d bytes, at most %d", ErrTooLarge, name, len(value), MaxValue)
	}
	return CheckName(name)
}

// Page returns how many entries to return for the limit of a call.
func Page(limit int) int {
	if limit <= 0 || limit > MaxPage {
		return MaxPage
	}
	return limit
}

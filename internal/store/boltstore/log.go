package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/broadcastd/broadcastd/internal/store"
)

// Append implements store.Store.
func (s *Store) Append(ctx context.Context, log string, data []byte) (seq uint64, err error) {
	if err := store.CheckWrite(log, data); err != nil {
		return 0, err
	}
	err = s.write(ctx, func(tx *bolt.Tx) (c store.Change, err error) {
		b, err := tx.Bucket(bucketLogs).CreateBucketIfNotExists([]byte(log))
		if err != nil {
			return c, err
		}
		at := uint64(s.now().UnixNano())
		if _, raw := b.Cursor().Last(); len(raw) >= prologue { // the clock may be set back
			at = max(at, binary.BigEndian.Uint64(raw))
		}
		if seq, err = b.NextSequence(); err != nil {
			return c, err
		}
		return c, b.Put(number(seq), seal(at, data))
	})
	return seq, err
}

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, log string, after uint64, limit int) ([]store.Record, error) {
	return s.read(ctx, log, limit, func(c *bolt.Cursor) (k, v []byte) {
		if after+1 == 0 {
			return nil, nil
		}
		return c.Seek(number(after + 1))
	})
}

// ReadSince implements store.Store. Times grow with numbers, so that the first
// one is found by halving.
func (s *Store) ReadSince(ctx context.Context, log string, since time.Time, limit int) ([]store.Record, error) {
	return s.read(ctx, log, limit, func(c *bolt.Cursor) (k, v []byte) {
		first, _ := c.First()
		last, _ := c.Last()
		if first == nil {
			return nil, nil
		}
		lo, hi := binary.BigEndian.Uint64(first), binary.BigEndian.Uint64(last)+1
		for lo < hi {
			mid := lo + (hi-lo)/2
			if _, raw := c.Seek(number(mid)); len(raw) < prologue || timeOf(raw).Before(since) {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		return c.Seek(number(lo))
	})
}

// read returns the records from where seek puts the cursor.
func (s *Store) read(ctx context.Context, log string, limit int, seek func(*bolt.Cursor) (k, v []byte)) (out []store.Record, err error) {
	if err := errors.Join(context.Cause(ctx), store.CheckName(log)); err != nil {
		return nil, err
	}
	limit = store.Page(limit)
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLogs).Bucket([]byte(log))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := seek(c); k != nil && len(out) < limit; k, v = c.Next() {
			seq := binary.BigEndian.Uint64(k)
			at, data, err := unseal(fmt.Sprintf("record %d of %s", seq, log), v)
			if err != nil {
				return err
			}
			out = append(out, store.Record{Seq: seq, Time: time.Unix(0, int64(at)).UTC(), Data: data})
		}
		return nil
	})
	return out, err
}

// Bounds implements store.Store.
func (s *Store) Bounds(ctx context.Context, log string) (first, last uint64, err error) {
	if err := errors.Join(context.Cause(ctx), store.CheckName(log)); err != nil {
		return 0, 0, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLogs).Bucket([]byte(log))
		if b == nil {
			return nil
		}
		last = b.Sequence()
		first = last + 1
		if k, _ := b.Cursor().First(); k != nil {
			first = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return first, last, err
}

// Trim implements store.Store.
func (s *Store) Trim(ctx context.Context, log string, keep int, age time.Duration) (removed int, err error) {
	if err := store.CheckName(log); err != nil {
		return 0, err
	}
	err = s.write(ctx, func(tx *bolt.Tx) (none store.Change, err error) {
		b := tx.Bucket(bucketLogs).Bucket([]byte(log))
		if b == nil {
			return none, nil
		}
		var before uint64 // those numbered less go
		if last := b.Sequence(); keep > 0 && last > uint64(keep) {
			before = last - uint64(keep) + 1
		}
		oldest := s.now().Add(-age)
		c := b.Cursor()
		var gone [][]byte
		for k, v := c.First(); k != nil && len(gone) < store.MaxTrim; k, v = c.Next() {
			old := age > 0 && len(v) >= prologue && timeOf(v).Before(oldest)
			if !old && binary.BigEndian.Uint64(k) >= before {
				break
			}
			gone = append(gone, bytes.Clone(k))
		}
		for _, k := range gone { // not by the cursor, which a deletion moves
			if err := b.Delete(k); err != nil {
				return none, err
			}
		}
		removed = len(gone)
		return none, nil
	})
	return removed, err
}

func number(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func timeOf(raw []byte) time.Time { return time.Unix(0, int64(binary.BigEndian.Uint64(raw))).UTC() }

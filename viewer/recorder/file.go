package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A file is what a part writes to. *os.File is one.
type file interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Close() error
}

// A fileSystem creates files; tests have one that fails.
type fileSystem interface {
	// create creates path for appending. exclusive fails when it exists,
	// otherwise it is emptied. regular is false for pipes and the like.
	create(path string, exclusive bool) (f file, regular bool, err error)
}

type osFS struct{}

func (osFS) create(path string, exclusive bool) (file, bool, error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND | os.O_TRUNC
	if exclusive {
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, false, err
	}
	if !isRegular(f) {
		return f, false, nil
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		f.Close()
		return nil, false, err
	}
	return f, true, nil
}

// syncDir makes the name of a new file last.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err // some file systems cannot sync a directory, and need not
	}
	return nil
}

// createNext creates file n of the recording path, or the first one after it
// whose name is free.
func createNext(fs fileSystem, path string, n int) (file, string, error) {
	ext := filepath.Ext(path)
	for i := n; ; i++ {
		name := strings.TrimSuffix(path, ext) + "." + strconv.Itoa(i) + ext
		f, _, err := fs.create(name, true)
		if errors.Is(err, os.ErrExist) && i < n+1000 {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("recorder: create: %w", err)
		}
		return f, name, nil
	}
}

// writerFile makes a Writer a file that is never synced.
type writerFile struct{ io.Writer }

func (writerFile) Sync() error          { return nil }
func (writerFile) Truncate(int64) error { return errors.ErrUnsupported }
func (writerFile) Close() error         { return nil }

// batch is from how many bytes on waiting chunks are written. A chunk at a time
// costs the kernel half as much again for each byte, and what waits is lost with
// this process: no more than this, nor than what came since the last sync.
const batch = 128 << 10

// maxIndex bounds the entries of mfra: twelve days at one a second.
const maxIndex = 1 << 20

// A part is one file of a recording. One goroutine writes; syncing happens
// beside it, on a timer.
type part struct {
	f        file
	name     string
	every    time.Duration // below 0: never sync
	size     int64         // whole boxes, those that wait too
	sequence uint32        // of the last moof
	entries  []indexEntry
	dropped  bool // too many entries

	out     sync.Mutex // guards f's end and the next two; taken before mu
	waiting []byte     // whole boxes that are not written yet; empty if every is below 0
	written int64      // whole boxes in the file

	mu      sync.Mutex // guards what follows
	idle    sync.Cond  // of mu: syncing is false again
	timer   *time.Timer
	armed   bool // the timer is to sync
	syncing bool // a sync is under way
	dirty   bool // something was written since it began
	closed  bool
	syncErr error
}

// An indexEntry says where a random access point is.
type indexEntry struct {
	track  uint32
	time   int64 // presentation time, ticks of the track
	offset int64 // of the moof
}

func newPart(f file, name string, every time.Duration) *part {
	p := &part{f: f, name: name, every: every}
	p.idle.L = &p.mu
	return p
}

// write appends b, whole boxes, which it does not keep. group says that a group
// begins with b: what came before is synced at once.
func (p *part) write(b []byte, group bool) error {
	if err := p.syncFault(); err != nil {
		return err
	}
	if group {
		p.kick()
	}
	if err := p.put(b); err != nil {
		return err
	}
	p.size += int64(len(b))
	p.touch()
	return nil
}

// put has b wait with others, or writes all of them.
func (p *part) put(b []byte) error {
	p.out.Lock()
	defer p.out.Unlock()
	if p.every < 0 {
		return p.append(b)
	}
	p.waiting = append(p.waiting, b...)
	if len(p.waiting) < batch {
		return nil
	}
	return p.flush()
}

// flush writes what waits, under the lock out.
func (p *part) flush() error {
	if len(p.waiting) == 0 {
		return nil
	}
	err := p.append(p.waiting)
	p.waiting = p.waiting[:0]
	return err
}

// append writes b to the end of the file, under the lock out.
func (p *part) append(b []byte) error {
	n, err := p.f.Write(b)
	if err != nil {
		if n > 0 {
			// Leave no torn box behind. If that fails too, Recover will do it.
			_ = p.f.Truncate(p.written)
		}
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("recorder: the disk is full; %s is whole up to byte %d: %w", p.name, p.written, err)
		}
		return fmt.Errorf("recorder: %s is whole up to byte %d: %w", p.name, p.written, err)
	}
	p.written += int64(n)
	return nil
}

// touch arranges for what was written to be synced in time.
func (p *part) touch() {
	if p.every < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = true
	if !p.armed && !p.syncing {
		p.arm(p.every)
	}
}

// arm has sync run in a while, under the lock.
func (p *part) arm(d time.Duration) {
	p.armed = true
	if p.timer == nil {
		p.timer = time.AfterFunc(d, p.sync)
	} else {
		p.timer.Reset(d)
	}
}

// kick has what was written synced now, beside the writer.
func (p *part) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed && p.timer.Stop() {
		p.arm(0)
	}
}

// sync runs on the timer. There is never more than one.
func (p *part) sync() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	if p.closed {
		return
	}
	p.syncing, p.dirty = true, false
	p.mu.Unlock()
	err := p.settle()
	p.mu.Lock()
	p.syncing = false
	p.idle.Broadcast()
	if err != nil {
		p.syncErr = err
	} else if p.dirty && !p.closed {
		p.arm(p.every)
	}
}

// settle writes what waits and syncs the file.
func (p *part) settle() error {
	p.out.Lock()
	err := p.flush()
	p.out.Unlock()
	if err != nil {
		return err
	}
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("recorder: sync %s: %w", p.name, err)
	}
	return nil
}

func (p *part) syncFault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.syncErr
}

// index notes that the next write begins with a random access point.
func (p *part) index(track uint32, pts int64) {
	if len(p.entries) == maxIndex {
		p.entries, p.dropped = nil, true
	}
	if !p.dropped {
		p.entries = append(p.entries, indexEntry{track, pts, p.size})
	}
}

// close ends the file: with an index unless something had gone wrong before.
func (p *part) close(before error) error {
	var fault error
	if before == nil && len(p.entries) > 0 {
		fault = p.write(p.appendIndex(nil), false)
	}
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for p.syncing {
		p.idle.Wait()
	}
	p.mu.Unlock()
	if p.every >= 0 {
		if err := p.settle(); err != nil && fault == nil {
			fault = err
		}
	}
	if err := p.f.Close(); err != nil && fault == nil {
		fault = fmt.Errorf("recorder: %w", err)
	}
	return fault
}

// appendIndex appends the mfra box: a tfra for each track that has entries.
func (p *part) appendIndex(b []byte) []byte {
	be := binary.BigEndian
	start := len(b)
	b = append(b, 0, 0, 0, 0, 'm', 'f', 'r', 'a')
	seen := map[uint32]bool{}
	for _, first := range p.entries {
		if seen[first.track] {
			continue
		}
		seen[first.track] = true
		at, count := len(b), uint32(0)
		b = append(b, 0, 0, 0, 0, 't', 'f', 'r', 'a', 1, 0, 0, 0)
		b = be.AppendUint32(b, first.track)
		b = be.AppendUint32(b, 0) // one byte each for traf, trun and sample number
		b = be.AppendUint32(b, 0)
		for _, e := range p.entries {
			if e.track != first.track {
				continue
			}
			count++
			b = be.AppendUint64(b, uint64(e.time))
			b = be.AppendUint64(b, uint64(e.offset))
			b = append(b, 1, 1, 1)
		}
		be.PutUint32(b[at:], uint32(len(b)-at))
		be.PutUint32(b[at+20:], count)
	}
	b = append(b, 0, 0, 0, 16, 'm', 'f', 'r', 'o', 0, 0, 0, 0)
	b = be.AppendUint32(b, uint32(len(b)+4-start))
	be.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// Package fmp4 takes fragmented MP4 in: over HTTP, at /ingest/<name>, and from
// a file or standard input.
//
// Over HTTP an input is one endless body (POST or PUT, chunked), or a request
// per segment. The body of /ingest/<name> is a whole input or its next
// segment; a path below it, such as /ingest/<name>/video.cmfv, is one rendition
// of several (DASH-IF live media ingest, interface 1). A header may come in a
// request of its own. DELETE ends the input without waiting for its return.
package fmp4

import (
	"context"
	"errors"
	"io"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A Reader is an ingest.Source that reads one stream, such as standard input
// or a file. It closes In when its context ends, if In is an io.Closer.
type Reader struct {
	In io.Reader
	// Demuxer says how the stream is cut.
	Demuxer cmaf.DemuxerConfig
}

// Run implements ingest.Source.
func (r Reader) Run(ctx context.Context, b cmaf.Broadcast) error {
	if c, ok := r.In.(io.Closer); ok {
		defer context.AfterFunc(ctx, func() { c.Close() })()
	}
	d := cmaf.NewDemuxer(b, r.Demuxer)
	buf := make([]byte, bufferSize)
	for {
		n, err := r.In.Read(buf)
		if n > 0 {
			if _, werr := d.Write(buf[:n]); werr != nil {
				return errors.Join(werr, ignoreBox(d.Close()))
			}
		}
		switch {
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), ignoreBox(d.Close()))
		case errors.Is(err, io.EOF):
			return d.Close()
		case err != nil:
			return errors.Join(err, ignoreBox(d.Close()))
		}
	}
}

// ignoreBox returns nil for a fault of the bytes, which were cut off anyway.
func ignoreBox(err error) error {
	if _, ok := errors.AsType[*cmaf.BoxError](err); ok {
		return nil
	}
	return err
}

package cmaf

import (
	"encoding/binary"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"
)

// encodeInit writes ftyp and moov with one track per trak. The sample entries
// go in byte for byte; everything else is written anew, without edit lists
// and with nothing in trex.
//
// Source: ISO/IEC 23000-19 section 7.3 (header, brands cmfc and cmf2).
func encodeInit(traks []*trak) ([]byte, error) {
	s := mp4.NewMP4Init()
	s.AddChild(mp4.NewFtyp("cmf2", 0, []string{"cmf2", "cmfc", "iso6", "mp41"}))
	moov := mp4.NewMoovBox()
	s.AddChild(moov)
	mvhd := mp4.CreateMvhd()
	mvhd.Timescale = 1000
	mvhd.NextTrackID = uint32(len(traks) + 1)
	moov.AddChild(mvhd)
	mvex := mp4.NewMvexBox()
	for i, t := range traks {
		id := uint32(i + 1)
		moov.AddChild(encodeTrak(t, id))
		mvex.AddChild(mp4.CreateTrex(id))
	}
	moov.AddChild(mvex)
	b := make([]byte, s.Size())
	sw := bits.NewFixedSliceWriterFromSlice(b)
	if err := s.EncodeSW(sw); err != nil {
		return nil, err
	}
	return b, nil
}

func encodeTrak(t *trak, id uint32) *mp4.TrakBox {
	lang := t.header.Language
	if lang == "" {
		lang = "und"
	}
	b := mp4.CreateEmptyTrak(id, t.header.Timescale, string(t.header.Kind), lang)
	b.Tkhd.Matrix = t.matrix
	b.Tkhd.Width, b.Tkhd.Height = mp4.Fixed32(t.width), mp4.Fixed32(t.height)
	if t.header.Kind == KindAudio {
		b.Tkhd.AlternateGroup = 1
	}
	b.Mdia.Hdlr.Name = ""
	h := boxHeaderSize
	typ := fourCC(binary.BigEndian.Uint32(t.entry[4:]))
	if binary.BigEndian.Uint32(t.entry) == 1 {
		h = 16
	}
	// Past AddChild, which wants the entry decoded: it stays as it is.
	stsd := b.Mdia.Minf.Stbl.Stsd
	entry := mp4.CreateUnknownBox(typ.String(), uint64(boxHeaderSize+len(t.entry)-h), t.entry[h:])
	stsd.Children, stsd.SampleCount = []mp4.Box{entry}, 1
	return b
}

package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

const (
	hevcRecordSize = 23 // of hvcC ahead of its arrays
	hevcNALSPS     = 33
	hevcNALVCLEnd  = 32 // types below it are slices
)

// HEVC reads an HEVC decoder configuration record, the content of an hvcC box
// (ISO/IEC 14496-15 section 8.3.3.1). entry is the sample entry's type, "hvc1"
// or "hev1"; a hev1 track may have its parameter sets in the samples alone,
// and then the picture's size is not known here.
func HEVC(entry string, record []byte) (Video, error) {
	p := record
	if len(p) < hevcRecordSize {
		return Video{}, fmt.Errorf("has %d bytes of content, needs %d", len(p), hevcRecordSize)
	}
	if p[0] != 1 {
		return Video{}, fmt.Errorf("configuration version %d is not 1", p[0])
	}
	v := Video{
		Codec:     hevcCodec(entry, p[1:13]),
		FrameRate: plausibleRate(float64(binary.BigEndian.Uint16(p[19:])) / 256),
		BitDepth:  int(p[17]&7) + 8,
		KeyFrames: KeyFrames{syntaxHEVC, int(p[21]&3) + 1},
	}
	if v.KeyFrames.nalLength == 3 {
		return Video{}, errors.New("NAL unit lengths of 3 bytes are not allowed")
	}
	sps, err := hevcFirstSPS(p[22:])
	if err != nil {
		return Video{}, err
	}
	if sps == nil {
		if entry != "hev1" {
			return Video{}, fmt.Errorf("has no SPS, which %s needs", entry)
		}
		return v, nil
	}
	s, err := parseHEVCSPS(sps)
	if err != nil {
		return Video{}, err
	}
	v.Codec, v.Width, v.Height, v.BitDepth = hevcCodec(entry, s.profile[:]), s.width, s.height, s.bitDepth
	if s.frameRate > 0 {
		v.FrameRate = s.frameRate
	}
	return v, nil
}

// hevcFirstSPS walks the arrays of NAL units behind an hvcC's fixed fields and
// returns the first SPS of the base layer, or nil.
func hevcFirstSPS(p []byte) ([]byte, error) {
	var sps []byte
	arrays := int(p[0])
	p = p[1:]
	for i := range arrays {
		if len(p) < 3 {
			return nil, fmt.Errorf("ends inside array %d of %d", i+1, arrays)
		}
		typ, count := p[0]&63, int(binary.BigEndian.Uint16(p[1:]))
		p = p[3:]
		for j := range count {
			nal, rest, ok := cutParameterSet(p)
			if !ok {
				return nil, fmt.Errorf("ends inside NAL unit %d of %d of type %d", j+1, count, typ)
			}
			if sps == nil && typ == hevcNALSPS && len(nal) >= 2 && hevcLayer(nal) == 0 {
				sps = nal
			}
			p = rest
		}
	}
	return sps, nil
}

// hevcCodec returns the codecs parameter of ISO/IEC 14496-15 section E.3, from
// the 12 bytes of general_profile_space to general_level_idc: profile,
// compatibility flags in reverse order, tier and level, and the constraint
// flags up to the last byte that is not 0.
func hevcCodec(entry string, p []byte) string {
	var b strings.Builder
	b.WriteString(entry + ".")
	if space := p[0] >> 6; space > 0 {
		b.WriteByte('A' + space - 1)
	}
	tier := byte('L')
	if p[0]&0x20 != 0 {
		tier = 'H'
	}
	compatible := bits.Reverse32(binary.BigEndian.Uint32(p[1:]))
	fmt.Fprintf(&b, "%d.%X.%c%d", p[0]&31, compatible, tier, p[11])
	constraints := p[5:11]
	for len(constraints) > 0 && constraints[len(constraints)-1] == 0 {
		constraints = constraints[:len(constraints)-1]
	}
	for _, c := range constraints {
		fmt.Fprintf(&b, ".%X", c)
	}
	return b.String()
}

// hevcLayer returns the nuh_layer_id of a NAL unit of at least 2 bytes.
func hevcLayer(nal []byte) byte { return nal[0]&1<<5 | nal[1]>>3 }

// hevcKeyFrame reports whether a sample is an intra random access point (IDR,
// CRA or BLA): whether the first slice of its base layer is of one (ISO/IEC
// 23008-2 table 7-1).
func hevcKeyFrame(sample []byte, nalLength int) bool {
	for {
		nal, rest := cutNAL(sample, nalLength)
		if nal == nil {
			return false
		}
		if len(nal) >= 2 && hevcLayer(nal) == 0 {
			if typ := nal[0] >> 1 & 63; typ < hevcNALVCLEnd {
				return typ >= 16 && typ <= 23
			}
		}
		sample = rest
	}
}

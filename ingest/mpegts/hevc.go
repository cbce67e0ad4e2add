package mpegts

import (
	"encoding/binary"
	"errors"

	"github.com/broadcastd/broadcastd/cmaf"
)

// NAL unit types of HEVC, ISO/IEC 23008-2 table 7-1.
const (
	hevcFirstIRAP = 16 // BLA, IDR and CRA pictures
	hevcLastIRAP  = 23
	hevcLastSlice = 31
	hevcVPS       = 32
	hevcSPS       = 33
	hevcPPS       = 34
	hevcAUD       = 35
	hevcFiller    = 38
)

// hevc is the syntax of HEVC.
type hevc struct{}

func hevcType(nal []byte) byte { return nal[0] >> 1 & 0x3f }

func (hevc) class(nal []byte) class {
	switch typ := hevcType(nal); {
	case typ == hevcAUD, typ == hevcFiller, len(nal) < 3:
		return classDropped
	case typ >= hevcVPS && typ <= hevcPPS:
		return classSet
	case typ >= hevcFirstIRAP && typ <= hevcLastIRAP:
		return classKey
	case typ <= hevcLastSlice:
		return classPicture
	}
	return classOther
}

func (hevc) key(nal []byte) (setKey, bool) {
	k := setKey{typ: hevcType(nal)}
	switch k.typ {
	case hevcVPS:
		k.id = uint32(nal[2] >> 4)
		return k, true
	case hevcSPS:
		s, ok := parseHEVCSPS(nal)
		k.id = s.id
		return k, ok && k.id < 16
	}
	r := newBitReader(nal[2:min(len(nal), 10)])
	k.id = r.ue()
	return k, !r.over && k.id < 64
}

// hevcSPSFields is what a configuration record needs of an SPS.
type hevcSPSFields struct {
	id                         uint32
	profile                    []byte // general_profile_space to general_level_idc
	layers                     byte   // sub-layers, counted from 1
	nested                     byte   // sps_temporal_id_nesting_flag
	chroma, depth, depthChroma byte   // the depths less 8
}

// parseHEVCSPS reads an SPS as far as the bit depths (section 7.3.2.2.1).
func parseHEVCSPS(nal []byte) (s hevcSPSFields, ok bool) {
	r := newBitReader(nal[2:])
	if len(r.b) < 13 {
		return s, false
	}
	s.profile = r.b[1:13]
	r.bits(4) // sps_video_parameter_set_id
	more := int(r.bits(3))
	s.layers, s.nested = byte(more+1), byte(r.bits(1))
	r.skip(8 * 12)
	profile, level := [8]bool{}, [8]bool{}
	for i := range more {
		profile[i], level[i] = r.bits(1) == 1, r.bits(1) == 1
	}
	if more > 0 {
		r.skip(2 * (8 - more))
	}
	for i := range more {
		if profile[i] {
			r.skip(88)
		}
		if level[i] {
			r.skip(8)
		}
	}
	s.id = r.ue()
	if s.chroma = byte(r.ue()); s.chroma == 3 {
		r.bits(1) // separate_colour_plane_flag
	}
	r.ue()              // pic_width_in_luma_samples
	r.ue()              // pic_height_in_luma_samples
	if r.bits(1) == 1 { // conformance_window_flag
		for range 4 {
			r.ue()
		}
	}
	s.depth, s.depthChroma = byte(r.ue()), byte(r.ue())
	return s, !r.over && s.chroma <= 3 && s.depth <= 7 && s.depthChroma <= 7
}

// header makes the HEVC decoder configuration record, ISO/IEC 14496-15 section
// 8.3.3.1.
func (hevc) header(sets [][]byte) (cmaf.Header, error) {
	var arrays [3][][]byte
	for _, nal := range sets {
		a := &arrays[hevcType(nal)-hevcVPS]
		*a = append(*a, nal)
	}
	if len(arrays[0]) == 0 || len(arrays[1]) == 0 || len(arrays[2]) == 0 {
		return cmaf.Header{}, errors.New("VPS, SPS or PPS did not come")
	}
	s, _ := parseHEVCSPS(arrays[1][0]) // it has an ID, so it could be read
	b := append([]byte{1}, s.profile...)
	b = append(b,
		0xf0, 0, // min_spatial_segmentation_idc: unknown
		0xfc, // parallelismType: unknown
		0xfc|s.chroma, 0xf8|s.depth, 0xf8|s.depthChroma,
		0, 0, // avgFrameRate: unknown
		s.layers<<3|s.nested<<2|3, // constantFrameRate unknown; lengths of four bytes
		byte(len(arrays)))
	for i, list := range arrays {
		b = append(b, 0x80|byte(hevcVPS+i)) // all sets of the type are here
		b = binary.BigEndian.AppendUint16(b, uint16(len(list)))
		b = appendSets(b, list)
	}
	return cmaf.NewHeader(cmaf.HeaderConfig{Entry: "hvc1", Config: b, Timescale: clockRate})
}

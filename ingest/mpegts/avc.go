package mpegts

import (
	"errors"

	"github.com/broadcastd/broadcastd/cmaf"
)

// NAL unit types of H.264, ISO/IEC 14496-10 table 7-1.
const (
	avcSlice  = 1
	avcIDR    = 5
	avcSEI    = 6
	avcSPS    = 7
	avcPPS    = 8
	avcAUD    = 9
	avcFiller = 12
)

// avc is the syntax of H.264.
type avc struct{}

func (avc) class(nal []byte) class {
	switch typ := nal[0] & 0x1f; typ {
	case avcAUD, avcFiller:
		return classDropped
	case avcSPS, avcPPS:
		return classSet
	case avcIDR:
		return classKey
	case avcSEI:
		if recoversAtOnce(nal[1:]) {
			return classRecovery
		}
	default:
		if typ >= avcSlice && typ < avcIDR {
			return classPicture
		}
	}
	return classOther
}

// recoversAtOnce reports whether SEI messages have a recovery point with a
// recovery_frame_cnt of 0, which is what an open GOP begins with (sections
// 7.3.2.3 and D.1.8).
func recoversAtOnce(p []byte) bool {
	for len(p) > 2 {
		var typ, size int
		var ok bool
		if typ, p, ok = seiValue(p); !ok {
			return false
		}
		if size, p, ok = seiValue(p); !ok || size > len(p) {
			return false
		}
		if typ == 6 {
			return size > 0 && p[0]&0x80 != 0 // ue(v) of 0
		}
		p = p[size:]
	}
	return false
}

func seiValue(p []byte) (v int, rest []byte, ok bool) {
	for i, c := range p {
		v += int(c)
		if c != 0xff {
			return v, p[i+1:], true
		}
	}
	return 0, nil, false
}

func (avc) key(nal []byte) (setKey, bool) {
	k := setKey{typ: nal[0] & 0x1f}
	head, limit := 1, uint32(256)
	if k.typ == avcSPS {
		head, limit = 4, 32 // behind profile, constraints and level
	}
	if len(nal) <= head {
		return k, false
	}
	r := newBitReader(nal[head:min(len(nal), head+8)])
	k.id = r.ue()
	return k, !r.over && k.id < limit
}

// header makes the AVC decoder configuration record, ISO/IEC 14496-15 section
// 5.3.3.1.
func (avc) header(sets [][]byte) (cmaf.Header, error) {
	var sps, pps [][]byte
	for _, nal := range sets {
		if nal[0]&0x1f == avcSPS {
			sps = append(sps, nal)
		} else {
			pps = append(pps, nal)
		}
	}
	if len(sps) == 0 || len(pps) == 0 {
		return cmaf.Header{}, errors.New("SPS or PPS did not come")
	}
	sps = sps[:min(len(sps), 31)]
	first := sps[0]
	b := []byte{1, first[1], first[2], first[3], 0xfc | 3, 0xe0 | byte(len(sps))}
	b = appendSets(b, sps)
	b = append(b, byte(len(pps)))
	b = appendSets(b, pps)
	switch first[1] {
	case 100, 110, 122, 144: // profiles with more than 4:2:0 of 8 bits
		r := newBitReader(first[4:])
		r.ue() // seq_parameter_set_id
		chroma := r.ue()
		depth, depthChroma := r.ue(), r.ue()
		b = append(b, 0xfc|byte(chroma)&3, 0xf8|byte(depth)&7, 0xf8|byte(depthChroma)&7, 0)
	}
	return cmaf.NewHeader(cmaf.HeaderConfig{Entry: "avc1", Config: b, Timescale: clockRate})
}

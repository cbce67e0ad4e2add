package codec

import (
	"errors"
	"fmt"
)

// AVC reads an AVC decoder configuration record, the content of an avcC box
// (ISO/IEC 14496-15 section 5.3.3). entry is the sample entry's type, "avc1" or
// "avc3"; an avc3 track may have its parameter sets in the samples alone, and
// then the picture's size is not known here.
func AVC(entry string, record []byte) (Video, error) {
	p := record
	if len(p) < 6 {
		return Video{}, fmt.Errorf("has %d bytes of content, needs 6", len(p))
	}
	if p[0] != 1 {
		return Video{}, fmt.Errorf("configuration version %d is not 1", p[0])
	}
	v := Video{Codec: avcCodec(entry, p[1:4]), KeyFrames: KeyFrames{syntaxAVC, int(p[4]&3) + 1}}
	if v.KeyFrames.nalLength == 3 {
		return Video{}, errors.New("NAL unit lengths of 3 bytes are not allowed")
	}
	count := int(p[5] & 31)
	p = p[6:]
	for i := range count {
		nal, rest, ok := cutParameterSet(p)
		if !ok {
			return Video{}, fmt.Errorf("ends inside SPS %d of %d", i+1, count)
		}
		if i == 0 {
			s, err := parseSPS(nal)
			if err != nil {
				return Video{}, err
			}
			v.Codec, v.Width, v.Height = avcCodec(entry, nal[1:4]), s.width, s.height
			v.FrameRate, v.BitDepth = s.frameRate, s.bitDepth
		}
		p = rest
	}
	if count == 0 && entry != "avc3" {
		return Video{}, fmt.Errorf("has no SPS, which %s needs", entry)
	}
	return v, nil
}

// avcCodec returns the codecs parameter of RFC 6381 section 3.3: profile,
// constraint flags and level in hexadecimal.
func avcCodec(entry string, p []byte) string { return fmt.Sprintf("%s.%x", entry, p) }

// avcKeyFrame reports whether a sample is an IDR picture: whether the first of
// its NAL units that is a slice is one of an IDR (ISO/IEC 14496-10 table 7-1).
func avcKeyFrame(sample []byte, nalLength int) bool {
	for {
		nal, rest := cutNAL(sample, nalLength)
		if nal == nil {
			return false
		}
		switch typ := nal[0] & 31; typ {
		case 1, 2, 5:
			return typ == 5
		}
		sample = rest
	}
}

type avcSPS struct {
	width, height int
	frameRate     float64 // 0: not said
	bitDepth      int     // of luma
}

// parseSPS reads an H.264 sequence parameter set, NAL unit header included,
// as far as the VUI timing (ISO/IEC 14496-10 sections 7.3.2.1.1 and E.1.1).
func parseSPS(nal []byte) (avcSPS, error) {
	if len(nal) < 5 || nal[0]&31 != 7 {
		return avcSPS{}, fmt.Errorf("SPS: not a sequence parameter set")
	}
	s := avcSPS{bitDepth: 8}
	r := bitReader{b: rbsp(nal[4:])}
	r.ue() // seq_parameter_set_id
	chroma, separate := uint32(1), false
	switch nal[1] { // profile_idc
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = r.ue()
		if chroma > 3 {
			return s, fmt.Errorf("SPS: chroma_format_idc %d", chroma)
		}
		if chroma == 3 {
			separate = r.flag()
		}
		depth := r.ue() // bit_depth_luma_minus8
		if depth > 6 {
			return s, fmt.Errorf("SPS: bit_depth_luma_minus8 %d", depth)
		}
		s.bitDepth += int(depth)
		r.ue()        // bit_depth_chroma_minus8
		r.flag()      // qpprime_y_zero_transform_bypass_flag
		if r.flag() { // seq_scaling_matrix_present_flag
			skipScalingLists(&r, chroma)
		}
	}
	r.ue() // log2_max_frame_num_minus4
	if err := skipPicOrderCnt(&r); err != nil {
		return s, err
	}
	r.ue()   // max_num_ref_frames
	r.flag() // gaps_in_frame_num_value_allowed_flag
	w, fh := r.ue(), r.ue()
	if w > 4095 || fh > 4095 {
		return s, fmt.Errorf("SPS: picture of %d by %d macroblocks", uint64(w)+1, uint64(fh)+1)
	}
	fields := uint32(2) // 2 - frame_mbs_only_flag
	if r.flag() {
		fields = 1
	} else {
		r.flag() // mb_adaptive_frame_field_flag
	}
	r.flag() // direct_8x8_inference_flag
	s.width, s.height = int(w+1)*16, int(fh+1)*16*int(fields)
	if r.flag() { // frame_cropping_flag
		left, right, top, bottom := int64(r.ue()), int64(r.ue()), int64(r.ue()), int64(r.ue())
		ux, uy := int64(1), int64(fields)
		if !separate && (chroma == 1 || chroma == 2) {
			ux = 2
		}
		if !separate && chroma == 1 {
			uy *= 2
		}
		cw, ch := int64(s.width)-ux*(left+right), int64(s.height)-uy*(top+bottom)
		if cw <= 0 || ch <= 0 {
			return s, fmt.Errorf("SPS: nothing is left of %dx%d after cropping", s.width, s.height)
		}
		s.width, s.height = int(cw), int(ch)
	}
	if r.flag() { // vui_parameters_present_flag
		s.frameRate = vuiFrameRate(&r)
	}
	if r.over {
		return s, fmt.Errorf("SPS: ends early")
	}
	return s, nil
}

func skipScalingLists(r *bitReader, chroma uint32) {
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if !r.flag() {
			continue
		}
		size := 16
		if i >= 6 {
			size = 64
		}
		last, next := int32(8), int32(8)
		for range size {
			if next != 0 {
				next = (last + r.se()) & 255
			}
			if next != 0 {
				last = next
			}
		}
	}
}

func skipPicOrderCnt(r *bitReader) error {
	switch typ := r.ue(); typ {
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.flag() // delta_pic_order_always_zero_flag
		r.se()   // offset_for_non_ref_pic
		r.se()   // offset_for_top_to_bottom_field
		n := r.ue()
		if n > 255 {
			return fmt.Errorf("SPS: num_ref_frames_in_pic_order_cnt_cycle %d", n)
		}
		for range n {
			r.se()
		}
	case 2:
	default:
		return fmt.Errorf("SPS: pic_order_cnt_type %d", typ)
	}
	return nil
}

// vuiFrameRate reads the VUI as far as its timing; a field is one tick.
func vuiFrameRate(r *bitReader) float64 {
	if r.flag() { // aspect_ratio_info_present_flag
		if r.bits(8) == 255 {
			r.bits(32)
		}
	}
	if r.flag() { // overscan_info_present_flag
		r.flag()
	}
	if r.flag() { // video_signal_type_present_flag
		r.bits(4)
		if r.flag() {
			r.bits(24)
		}
	}
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	if !r.flag() { // timing_info_present_flag
		return 0
	}
	tick, scale := r.bits(32), r.bits(32)
	if tick == 0 || r.over {
		return 0
	}
	return plausibleRate(float64(scale) / float64(tick) / 2)
}

package codec

import "fmt"

// An av1Sequence is what an AV1 sequence header says.
type av1Sequence struct {
	profile, level, tier uint32
	bitDepth             int
	mono, fullRange      uint32
	subsampling          [3]uint32 // in x, in y, and where the chroma samples are
	colours              [3]uint32 // primaries, transfer, matrix (ISO/IEC 23091-2)
	width, height        int       // the largest frame's; 0: not said
	frameRate            float64   // 0: not said
}

var (
	av1Undescribed = [3]uint32{2, 2, 2}
	av1BT709       = [3]uint32{1, 1, 1}
	av1SRGB        = [3]uint32{1, 13, 0} // which implies 4:4:4 in full range
)

// parseAV1Sequence reads a sequence_header_obu (AV1 section 5.5.1).
func parseAV1Sequence(b []byte) (av1Sequence, error) {
	r := bitReader{b: b}
	s := av1Sequence{profile: r.bits(3)}
	if s.profile > 2 {
		return s, fmt.Errorf("sequence header: seq_profile %d", s.profile)
	}
	r.flag()            // still_picture
	reduced := r.flag() // reduced_still_picture_header
	if reduced {
		s.level = r.bits(5)
	} else {
		s.operatingPoints(&r)
	}
	wBits, hBits := int(r.bits(4))+1, int(r.bits(4))+1
	s.width, s.height = int(r.bits(wBits))+1, int(r.bits(hBits))+1
	if !reduced && r.flag() { // frame_id_numbers_present_flag
		r.skip(7)
	}
	r.skip(3) // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
	if !reduced {
		skipAV1Tools(&r)
	}
	r.skip(3) // enable_superres, enable_cdef, enable_restoration
	s.colour(&r)
	r.flag() // film_grain_params_present
	if r.over {
		return s, fmt.Errorf("sequence header: ends early")
	}
	return s, nil
}

// operatingPoints reads from timing_info_present_flag to the last operating
// point. Level and tier are those of the first, which is everything.
func (s *av1Sequence) operatingPoints(r *bitReader) {
	decoderModel, delayBits := false, 0
	if r.flag() { // timing_info_present_flag
		tick, scale := r.bits(32), r.bits(32)
		if r.flag() { // equal_picture_interval
			perPicture := uint64(r.ue()) + 1
			if tick > 0 {
				s.frameRate = plausibleRate(float64(scale) / float64(tick) / float64(perPicture))
			}
		}
		if decoderModel = r.flag(); decoderModel {
			delayBits = int(r.bits(5)) + 1
			r.skip(32 + 5 + 5)
		}
	}
	displayDelay := r.flag() // initial_display_delay_present_flag
	for i := range r.bits(5) + 1 {
		r.skip(12) // operating_point_idc
		level, tier := r.bits(5), uint32(0)
		if level > 7 {
			tier = r.bit()
		}
		if i == 0 {
			s.level, s.tier = level, tier
		}
		if decoderModel && r.flag() { // decoder_model_present_for_this_op
			r.skip(2*delayBits + 1)
		}
		if displayDelay && r.flag() { // initial_display_delay_present_for_this_op
			r.skip(4)
		}
	}
}

// skipAV1Tools passes over what a reduced header leaves out.
func skipAV1Tools(r *bitReader) {
	r.skip(4)         // interintra, masked compound, warped motion, dual filter
	order := r.flag() // enable_order_hint
	if order {
		r.skip(2) // enable_jnt_comp, enable_ref_frame_mvs
	}
	// seq_choose_screen_content_tools, else seq_force_screen_content_tools
	if screen := r.flag() || r.flag(); screen && !r.flag() { // seq_choose_integer_mv
		r.flag() // seq_force_integer_mv
	}
	if order {
		r.skip(3) // order_hint_bits_minus_1
	}
}

// colour reads color_config (section 5.5.2).
func (s *av1Sequence) colour(r *bitReader) {
	s.bitDepth = 8
	if high := r.flag(); high {
		s.bitDepth = 10
		if s.profile == 2 && r.flag() { // twelve_bit
			s.bitDepth = 12
		}
	}
	if s.profile != 1 {
		s.mono = r.bit()
	}
	s.colours = av1Undescribed
	if r.flag() { // color_description_present_flag
		s.colours = [3]uint32{r.bits(8), r.bits(8), r.bits(8)}
	}
	switch {
	case s.mono == 1:
		s.fullRange = r.bit()
		s.subsampling = [3]uint32{1, 1, 0}
		return
	case s.colours == av1SRGB:
		s.fullRange = 1
	default:
		s.fullRange = r.bit()
		switch {
		case s.profile == 0:
			s.subsampling = [3]uint32{1, 1}
		case s.profile == 2 && s.bitDepth < 12:
			s.subsampling = [3]uint32{1, 0}
		case s.profile == 2:
			if s.subsampling[0] = r.bit(); s.subsampling[0] == 1 {
				s.subsampling[1] = r.bit()
			}
		}
		if s.subsampling[1] == 1 {
			s.subsampling[2] = r.bits(2) // chroma_sample_position
		}
	}
	r.flag() // separate_uv_delta_q
}

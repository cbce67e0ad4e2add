package codec

import (
	"fmt"
	"slices"
)

const maxPictureSide = 65535 // pixels, which is what boxes have room for

type hevcSPS struct {
	profile       [12]byte // general_profile_space to general_level_idc
	width, height int      // after cropping
	bitDepth      int      // of luma
	frameRate     float64  // 0: not said
}

// parseHEVCSPS reads an H.265 sequence parameter set of the base layer, NAL
// unit header included, as far as the VUI timing (ISO/IEC 23008-2 sections
// 7.3.2.2 and E.2.1).
func parseHEVCSPS(nal []byte) (hevcSPS, error) {
	var s hevcSPS
	if len(nal) < 2 || nal[0]>>1&63 != hevcNALSPS {
		return s, fmt.Errorf("SPS: not a sequence parameter set")
	}
	r := bitReader{b: rbsp(nal[2:])}
	r.bits(4)                   // sps_video_parameter_set_id
	subLayers := int(r.bits(3)) // sps_max_sub_layers_minus1
	r.flag()                    // sps_temporal_id_nesting_flag
	for i := range s.profile {
		s.profile[i] = byte(r.bits(8))
	}
	skipSubLayerProfiles(&r, subLayers)
	r.ue() // sps_seq_parameter_set_id
	if err := s.picture(&r); err != nil {
		return s, err
	}
	pocBits := r.ue() + 4
	if pocBits > 16 {
		return s, fmt.Errorf("SPS: log2_max_pic_order_cnt_lsb_minus4 %d", uint64(pocBits)-4)
	}
	ordering := 1
	if r.flag() { // sps_sub_layer_ordering_info_present_flag
		ordering = subLayers + 1
	}
	for range 3*ordering + 6 { // and the block sizes and depths
		r.ue()
	}
	if r.flag() && r.flag() { // scaling_list_enabled_flag, sps_scaling_list_data_present_flag
		skipHEVCScalingLists(&r)
	}
	r.bits(2)     // amp_enabled_flag, sample_adaptive_offset_enabled_flag
	if r.flag() { // pcm_enabled_flag
		r.bits(8)
		r.ue()
		r.ue()
		r.flag()
	}
	if err := skipReferenceSets(&r, int(pocBits)); err != nil {
		return s, err
	}
	r.bits(2)     // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
	if r.flag() { // vui_parameters_present_flag
		s.frameRate = hevcFrameRate(&r)
	}
	if r.over {
		return s, fmt.Errorf("SPS: ends early")
	}
	return s, nil
}

// picture reads from chroma_format_idc to the bit depths.
func (s *hevcSPS) picture(r *bitReader) error {
	chroma, separate := r.ue(), false
	if chroma > 3 {
		return fmt.Errorf("SPS: chroma_format_idc %d", chroma)
	}
	if chroma == 3 {
		separate = r.flag()
	}
	w, h := r.ue(), r.ue()
	if w == 0 || h == 0 || w > maxPictureSide || h > maxPictureSide {
		return fmt.Errorf("SPS: picture of %d by %d pixels", w, h)
	}
	s.width, s.height = int(w), int(h)
	if r.flag() { // conformance_window_flag
		left, right, top, bottom := int64(r.ue()), int64(r.ue()), int64(r.ue()), int64(r.ue())
		ux, uy := int64(1), int64(1)
		if !separate && (chroma == 1 || chroma == 2) {
			ux = 2
		}
		if !separate && chroma == 1 {
			uy = 2
		}
		cw, ch := int64(w)-ux*(left+right), int64(h)-uy*(top+bottom)
		if cw <= 0 || ch <= 0 {
			return fmt.Errorf("SPS: nothing is left of %dx%d after cropping", w, h)
		}
		s.width, s.height = int(cw), int(ch)
	}
	depth := r.ue() // bit_depth_luma_minus8
	if depth > 8 {
		return fmt.Errorf("SPS: bit_depth_luma_minus8 %d", depth)
	}
	s.bitDepth = int(depth) + 8
	r.ue() // bit_depth_chroma_minus8
	return nil
}

// skipSubLayerProfiles skips what profile_tier_level says for the sub-layers.
func skipSubLayerProfiles(r *bitReader, subLayers int) {
	if subLayers == 0 {
		return
	}
	var profile, level [8]bool
	for i := range 8 { // the flags of absent sub-layers are reserved bits
		profile[i], level[i] = r.flag(), r.flag()
	}
	for i := range subLayers {
		if profile[i] {
			r.skip(88)
		}
		if level[i] {
			r.skip(8)
		}
	}
}

func skipHEVCScalingLists(r *bitReader) {
	for size := range 4 {
		step := 1
		if size == 3 {
			step = 3
		}
		for matrix := 0; matrix < 6; matrix += step {
			if !r.flag() { // scaling_list_pred_mode_flag
				r.ue()
				continue
			}
			if size > 1 {
				r.se() // scaling_list_dc_coef_minus8
			}
			for range min(64, 16<<(2*size)) {
				r.se()
			}
		}
	}
}

// A referenceSet is one st_ref_pic_set: the distances of pictures before the
// current one, nearest first, and of those after it.
type referenceSet struct{ before, after []int64 }

const maxReferences = 16 // sps_max_dec_pic_buffering_minus1 is less

// skipReferenceSets reads the short-term sets, because how long one is depends
// on the one before it, and the long-term pictures.
func skipReferenceSets(r *bitReader, pocBits int) error {
	sets := r.ue()
	if sets > 64 {
		return fmt.Errorf("SPS: num_short_term_ref_pic_sets %d", sets)
	}
	var set referenceSet
	for i := range sets {
		predicted := i > 0 && r.flag() // inter_ref_pic_set_prediction_flag
		var err error
		if predicted {
			set, err = predictedSet(r, set)
		} else {
			set, err = explicitSet(r)
		}
		if err != nil {
			return err
		}
	}
	if r.flag() { // long_term_ref_pics_present_flag
		n := r.ue()
		if n > 32 {
			return fmt.Errorf("SPS: num_long_term_ref_pics_sps %d", n)
		}
		r.skip(int(n) * (pocBits + 1))
	}
	return nil
}

func explicitSet(r *bitReader) (referenceSet, error) {
	var set referenceSet
	before, after := r.ue(), r.ue()
	if before > maxReferences || after > maxReferences {
		return set, fmt.Errorf("SPS: a reference picture set of %d and %d pictures", before, after)
	}
	poc := int64(0)
	for range before {
		poc -= int64(r.ue()) + 1 // delta_poc_s0_minus1
		r.flag()                 // used_by_curr_pic_s0_flag
		set.before = append(set.before, poc)
	}
	poc = 0
	for range after {
		poc += int64(r.ue()) + 1
		r.flag()
		set.after = append(set.after, poc)
	}
	return set, nil
}

// predictedSet reads a set that is the one before it, ref, moved by a distance
// and with some of its pictures left out (section 7.4.8, equations 7-61 and
// 7-62).
func predictedSet(r *bitReader, ref referenceSet) (referenceSet, error) {
	negative := r.flag() // delta_rps_sign
	delta := int64(r.ue()) + 1
	if delta > 1<<15 {
		return referenceSet{}, fmt.Errorf("SPS: abs_delta_rps_minus1 %d", delta-1)
	}
	if negative {
		delta = -delta
	}
	n := len(ref.before) + len(ref.after)
	use := make([]bool, n+1)
	for j := range use {
		use[j] = r.flag() || r.flag() // used_by_curr_pic_flag, else use_delta_flag
	}
	// From the latest candidate to the earliest; 0 is the picture itself.
	type candidate struct {
		poc int64
		use bool
	}
	list := make([]candidate, 0, n+1)
	for j := len(ref.after) - 1; j >= 0; j-- {
		list = append(list, candidate{ref.after[j] + delta, use[len(ref.before)+j]})
	}
	list = append(list, candidate{delta, use[n]})
	for j, poc := range ref.before {
		list = append(list, candidate{poc + delta, use[j]})
	}
	var set referenceSet
	for _, c := range list {
		if c.use && c.poc < 0 {
			set.before = append(set.before, c.poc)
		}
	}
	for _, c := range slices.Backward(list) {
		if c.use && c.poc > 0 {
			set.after = append(set.after, c.poc)
		}
	}
	if len(set.before) > maxReferences || len(set.after) > maxReferences {
		return set, fmt.Errorf("SPS: a reference picture set of %d and %d pictures", len(set.before), len(set.after))
	}
	return set, nil
}

// hevcFrameRate reads the VUI as far as its timing.
func hevcFrameRate(r *bitReader) float64 {
	if r.flag() && r.bits(8) == 255 { // aspect_ratio_info_present_flag, aspect_ratio_idc
		r.bits(32)
	}
	if r.flag() { // overscan_info_present_flag
		r.flag()
	}
	if r.flag() { // video_signal_type_present_flag
		r.bits(4)
		if r.flag() { // colour_description_present_flag
			r.bits(24)
		}
	}
	if r.flag() { // chroma_loc_info_present_flag
		r.ue()
		r.ue()
	}
	r.flag() // neutral_chroma_indication_flag
	fields := r.flag()
	r.flag()      // frame_field_info_present_flag
	if r.flag() { // default_display_window_flag
		for range 4 {
			r.ue()
		}
	}
	if !r.flag() { // vui_timing_info_present_flag
		return 0
	}
	tick, scale := r.bits(32), r.bits(32)
	if tick == 0 || r.over {
		return 0
	}
	rate := float64(scale) / float64(tick)
	if fields { // what was timed is a field
		rate /= 2
	}
	return plausibleRate(rate)
}

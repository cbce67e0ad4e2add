#!/bin/sh
# Writes the fixtures of README.md into the folder it is run in.
set -eu
v='testsrc=size=160x120:rate=25'
a='sine=frequency=440:sample_rate=48000'
x264='-c:v libx264 -preset veryfast -crf 40 -g 12 -bf 2 -pix_fmt yuv420p'
aac='-c:a aac -b:a 32k -ac 2'
both() { # file, movflags, more
	f=$1 flags=$2
	shift 2
	ffmpeg -v error -y -f lavfi -i "$v" -f lavfi -i "$a" -t 1 $x264 $aac -bitexact -fflags +bitexact \
		-movflags "$flags" "$@" -f mp4 "$f"
}
both keyframe.mp4 +frag_keyframe+empty_moov+default_base_moof
both everyframe.mp4 +frag_every_frame+empty_moov+default_base_moof
both cmaf.mp4 +cmaf+frag_keyframe+empty_moov
both editlist.mp4 +frag_keyframe+delay_moov+default_base_moof
both baseoffset.mp4 +frag_keyframe+empty_moov
both nooffset.mp4 +frag_keyframe+empty_moov+omit_tfhd_offset
both dash.mp4 +frag_keyframe+dash -write_prft pts
both progressive.mp4 +faststart
ffmpeg -v error -y -f lavfi -i "$v" -t 1 $x264 -x264-params force-cfr=0 -bitexact \
	-movflags +frag_keyframe+empty_moov+default_base_moof -f mp4 video.mp4
ffmpeg -v error -y -f lavfi -i "$a" -t 1 $aac -bitexact \
	-metadata:s:a:0 language=eng -frag_duration 500000 \
	-movflags +empty_moov+default_base_moof -f mp4 audio.mp4

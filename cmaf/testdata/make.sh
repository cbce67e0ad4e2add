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

# The other codecs, a track each.
one() { # file, movflags, source, more
	f=$1 flags=$2 src=$3
	shift 3
	ffmpeg -v error -y -f lavfi -i "$src" -t 1 "$@" -bitexact -fflags +bitexact -movflags "$flags" -f mp4 "$f"
}
frag=+frag_keyframe+empty_moov+default_base_moof
x265='log-level=error:info=0:keyint=12:bframes=2:b-pyramid=1'
one hevc.mp4 +cmaf+frag_keyframe+empty_moov "$v" -c:v libx265 -preset veryfast -crf 40 -x265-params "$x265:open-gop=0" \
	-pix_fmt yuv420p -tag:v hvc1
one hevc10.mp4 +frag_keyframe+delay_moov+default_base_moof "$v" -c:v libx265 -preset veryfast -crf 40 -x265-params "$x265:open-gop=1" \
	-pix_fmt yuv420p10le -tag:v hev1
one av1.mp4 +frag_keyframe+delay_moov+default_base_moof "$v" -c:v libaom-av1 -cpu-used 8 -usage realtime -crf 55 -b:v 0 -g 12 -pix_fmt yuv420p
SVT_LOG=1 one av110.mp4 $frag "$v" -c:v libsvtav1 -preset 10 -crf 60 -g 12 -pix_fmt yuv420p10le -color_primaries bt2020 \
	-color_trc smpte2084 -colorspace bt2020nc
one avc10.mp4 $frag "$v" $x264 -pix_fmt yuv420p10le
one opus.mp4 +delay_moov+default_base_moof "$a" -c:a libopus -b:a 32k -ac 2 -frag_duration 500000
one flac.mp4 +empty_moov+default_base_moof sine=frequency=440:sample_rate=96000 -c:a flac -ac 1 -frag_duration 500000 \
	-t 0.2 -strict experimental

# Several tracks of a kind.
ffmpeg -v error -y -f lavfi -i "$v" -f lavfi -i 'testsrc=size=80x60:rate=25' -f lavfi -i "$a" -t 1 \
	-map 0 -map 1 -map 2 -map 2 -map 2 $x264 -c:a:0 aac -b:a:0 32k -c:a:1 libopus -b:a:1 24k -c:a:2 aac -b:a:2 24k \
	-metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -bitexact -fflags +bitexact \
	-movflags $frag -f mp4 tracks.mp4

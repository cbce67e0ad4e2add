#!/bin/sh
# Writes demo.mp4 into the folder it is run in; README.md says what it holds.
set -eu
# Twice the length is encoded and the second half is kept, so that the sound at
# the end goes over into the sound at the beginning: the tone repeats every second.
ffmpeg -v error -y \
	-f lavfi -i 'testsrc2=size=640x360:rate=30' \
	-f lavfi -i 'sine=frequency=440:beep_factor=4:sample_rate=48000' -t 16 \
	-c:v libx264 -preset veryslow -tune animation -profile:v high -level 3.0 -pix_fmt yuv420p \
	-bf 0 -g 30 -keyint_min 30 -sc_threshold 0 -flags +cgop -b:v 380k -maxrate 450k -bufsize 450k \
	-c:a aac -b:a 64k -ac 2 -bitexact whole.mp4
ffmpeg -v error -y -ss 8 -i whole.mp4 -t 8 -c copy -bitexact -fflags +bitexact \
	-movflags +frag_keyframe+empty_moov+default_base_moof -f mp4 demo.mp4
rm whole.mp4

#!/bin/sh
# Makes the trees of this folder. See README.md.
set -e
cd "$(dirname "$0")"
rm -rf fmp4 ts
mkdir fmp4 ts
for kind in fmp4 ts; do
	type=$kind
	[ $kind = ts ] && type=mpegts
	(cd $kind && ffmpeg -v error -nostdin -f lavfi -i "testsrc2=size=64x48:rate=10" -f lavfi -i "sine=frequency=440:sample_rate=48000" \
		-t 12 -c:v libx264 -preset veryslow -threads 1 -crf 40 -g 10 -keyint_min 10 -sc_threshold 0 -bf 2 -pix_fmt yuv420p \
		-c:a aac -b:a 8k -ac 1 -f hls -hls_time 1 -hls_playlist_type vod -hls_segment_type $type index.m3u8)
done

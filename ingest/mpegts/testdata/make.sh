#!/bin/sh
# Makes the files of this folder. See README.md.
set -e
cd "$(dirname "$0")"
ff() { ffmpeg -v error -nostdin -y "$@"; }
video="testsrc2=size=96x64:rate=25"
audio="sine=frequency=440:sample_rate=48000"

# Two B-frames between references, a key frame each half second.
ff -f lavfi -i "$video" -f lavfi -i "$audio" -t 1 -c:v libx264 -preset veryslow -threads 1 -g 12 -bf 2 -x264-params scenecut=0 \
	-pix_fmt yuv420p -c:a aac -b:a 32k -ac 1 -f mpegts av.ts
ff -f lavfi -i "$audio" -t 0.3 -c:a aac -b:a 32k -ac 1 -f mpegts audio.ts
ff -i av.ts -map 0:v -map 0:a -c copy -f mpegts -mpegts_service_id 1 -program title=a:st=0 -program title=b:st=1 programs.ts
ff -i audio.ts -c:a mp2 -f mpegts mp2.ts
# Another size, for parameter sets that change.
ff -f lavfi -i "testsrc2=size=160x96:rate=25" -t 0.1 -c:v libx264 -preset veryslow -threads 1 -pix_fmt yuv420p -f mpegts large.ts

#!/usr/bin/env bash
# -frames:v of an output that also copies a cover picture: ffmpeg exits 0, and the video track is not there.
#
# A limit in frames applies to all video streams, and the stream that reaches its end first ends the others. The cover
# has one packet, so the encoded video gets none. -frames:v:0 keeps it.
# Seen: ffmpeg 9.0.2 inside imageio-ffmpeg 0.8.1 (PyPI), linux-x86_64, 2026-12-01.
# Exits 0 while the behaviour stands, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(ls "$work"/venv/lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*)
"$ffmpeg" -version | head -1
cd "$work"
"$ffmpeg" -v error -y -f lavfi -i color=red:size=64x64 -frames:v 1 cover.jpg
"$ffmpeg" -v error -y -f lavfi -i testsrc2=size=160x90:rate=25:duration=1 -i cover.jpg -map 0 -map 1 \
  -c:v:0 libx264 -pix_fmt:v:0 yuv420p -c:v:1 copy -disposition:v:1 attached_pic source.mp4

# Frames of the first video stream that is no cover.
film() {
  "$ffmpeg" -v error -y -i source.mp4 -map 0 -c:v:0 libx264 -c:v:1 copy "$@" out.mp4
  "$ffmpeg" -v error -i out.mp4 -map 0:V -f framecrc - 2>/dev/null | grep -vc "^#" || true
}

all=$(film -frames:v 4)
first=$(film -frames:v:0 4)
echo "-frames:v 4: $all frames of film, exit 0; -frames:v:0 4: $first"
[ "$all" = 0 ] && [ "$first" = 4 ]
echo "unchanged: a limit in frames on a file with a cover loses the film without an error"

#!/usr/bin/env bash
# The H.264 decoder goes on with a full-range pixel format where a joined stream turns to limited range,
# though it states the range of each frame rightly; a converter then takes limited pictures for full ones.
#
# Seen: ffmpeg 9.0.2 inside imageio-ffmpeg 0.8.1 (PyPI), linux-x86_64, 2026-12-01.
# Exits 0 while the behaviour stands, 1 when it changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(ls "$work"/venv/lib/python*/site-packages/imageio_ffmpeg/binaries/ffmpeg-*)
"$ffmpeg" -version | head -1
part() { # NAME RANGE
  "$ffmpeg" -v error -f lavfi -i testsrc2=size=192x108:rate=25 -frames:v 12 -vf "scale=out_range=$2,setparams=range=$2" \
    -c:v libx264 -pix_fmt yuv420p -color_range "$2" -colorspace smpte170m "$work/$1.ts"
}
part full pc
part limited tv
printf "file '%s'\n" "$work/full.ts" "$work/limited.ts" > "$work/list.txt"
"$ffmpeg" -v error -f concat -safe 0 -i "$work/list.txt" -c copy -bsf:v dump_extra=freq=k "$work/joined.mkv"

# Pixel format and range of a file's last frame, as its decoder gives them.
last() {
  "$ffmpeg" -hide_banner -i "$1" -vf showinfo -f null - 2>&1 |
    sed -n 's/.* fmt:\([a-z0-9]*\) .*/\1/p; s/.*color_range:\([a-z]*\) .*/\1/p' | tail -2 | tr '\n' ' '
}
alone=$(last "$work/limited.ts") joined=$(last "$work/joined.mkv")
echo "limited part alone: $alone; the same part after a full-range one: $joined"
[ "$alone" = "yuv420p tv " ] && [ "$joined" = "yuvj420p tv " ]

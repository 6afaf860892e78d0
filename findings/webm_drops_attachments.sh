#!/usr/bin/env bash
# ffmpeg's WebM muxer takes an attachment with exit status 0 and does not write it; Matroska's does.
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
cd "$work"
echo "a font" > font.ttf
for container in mkv webm; do
  "$ffmpeg" -v error -y -f lavfi -i testsrc2=size=160x90:rate=25:duration=0.4 -c:v libvpx-vp9 -cpu-used 8 \
    -attach font.ttf -metadata:s:t mimetype=application/x-truetype-font "out.$container"
  count=$("$ffmpeg" -hide_banner -i "out.$container" 2>&1 | grep -c "Attachment:" || true)
  echo "$container: exit 0, $count attachment in the file"
  [ "$count" = "$([ "$container" = mkv ] && echo 1 || echo 0)" ]
done
echo "unchanged: WebM leaves the attachment out without an error"

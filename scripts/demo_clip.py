"""Make the five-second clip of `make demo`: a slow zoom with fine detail and grain.

Usage: demo_clip.py OUTPUT.mkv
"""

import sys
from pathlib import Path

from vmaf_assay.media import process
from vmaf_assay.media.ffmpeg import failure, find_ffmpeg

# A zoom into the edge of the Mandelbrot set, with a little grain. Its canonical-6 lie among those of filmed
# clips (libx264 medium CRF 30: vif_scale0 0.47, motion2 4.9); flat test cards do not.
GRAPH = (
    "mandelbrot=size=1280x720:rate=25:start_scale=0.02:end_scale=0.005:end_pts=125:maxiter=600"
    ":start_x=-0.743643:start_y=-0.131825,format=gray,format=yuv420p,gblur=sigma=1.2,"
    "scale=640:360:flags=bicubic,noise=alls=2:allf=t:all_seed=7,format=yuv420p[v]"
)


def main() -> None:
    """Write the clip, lossless, with the ffmpeg the package itself finds."""
    output = Path(sys.argv[1])
    ffmpeg = find_ffmpeg()
    argv = [*ffmpeg.base_argv(), "-filter_complex", GRAPH, "-map", "[v]", "-frames:v", "125"]
    done = process.run([*argv, "-c:v", "ffv1", "-threads", "1", str(output)], timeout_s=120)
    if done.exit_code != 0:
        sys.exit(str(failure(f"making {output}", done)))


if __name__ == "__main__":
    main()

"""ffmpeg and libvmaf: run them and read their output."""

"""ffmpeg and libvmaf: run them, ask them, read what they say."""

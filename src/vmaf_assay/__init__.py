"""Choose the cheapest encode that meets a VMAF target, with a confidence that can be checked."""

__version__ = "0.1.0"

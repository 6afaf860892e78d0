"""From sources to a content-addressed corpus of per-frame features and VMAF."""

"""The choice, its calibration, and the policies that decide what may be promised."""

"""What was delivered: measured results, counted against what was promised."""

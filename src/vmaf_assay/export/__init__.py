"""What other tools are given of runs and registries."""

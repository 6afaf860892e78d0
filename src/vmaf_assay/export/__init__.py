"""Export of runs and registries to other tools."""

"""Runs and a registry, as the registry's own tests have them."""

from tests.registry.conftest import promoted, registry, runs

__all__ = ["promoted", "registry", "runs"]

"""The runs and registries of tests/registry."""

from tests.registry.conftest import keys, names, promoted, registry, runs

__all__ = ["keys", "names", "promoted", "registry", "runs"]

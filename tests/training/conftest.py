"""The corpora of tests/model."""

from tests.model.conftest import real_rows, synthetic

__all__ = ["real_rows", "synthetic"]

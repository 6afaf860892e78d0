"""Rows, verdicts and the only way from smoke to production."""

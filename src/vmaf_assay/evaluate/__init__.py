"""Judging an ensemble on groups it never saw: folds, metrics, bounds, choice, gate."""

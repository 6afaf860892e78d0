"""The ensembles: what they read, how they are trained, written and asked."""

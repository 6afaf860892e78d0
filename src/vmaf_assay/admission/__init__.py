"""Judge runs, admit them to a registry, and record every later change of a row."""

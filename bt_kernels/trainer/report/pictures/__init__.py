"""The pictures of a run, a function each, drawn without a display from plain arrays."""

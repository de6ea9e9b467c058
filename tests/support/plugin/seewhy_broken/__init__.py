"""A third party's package whose import fails."""

raise ImportError("no module named 'their_dependency'")

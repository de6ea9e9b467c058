"""``seewhy demo``: one page on the built-in data."""

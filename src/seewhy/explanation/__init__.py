"""One picture explained."""

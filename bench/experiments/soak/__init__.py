"""Mixed traffic, then a search for leaks."""

"""A package with stores of its own, as its author would write it; this folder is put on PYTHONPATH."""

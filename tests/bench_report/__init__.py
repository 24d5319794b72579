"""Tests of the reading half of bench: statistics, charts, report."""

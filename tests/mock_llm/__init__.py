"""Tests of the mock upstream."""

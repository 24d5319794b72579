"""Measures a plan case by case."""

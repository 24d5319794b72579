"""What one machine's measured costs predict for more streams than it can hold: `python -m bench plan`."""

"""The gate's false-positive and false-negative rates, with injected faults."""

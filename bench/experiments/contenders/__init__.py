"""Services that are measured beside ours, or that calibrate the instrument."""

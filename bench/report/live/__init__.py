"""The data of the two charts of report.html that a reader can query: stops as curves, and every stop over time."""

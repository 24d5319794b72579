"""The static site of all runs: an index with filters, each run's report, the products, and badges."""

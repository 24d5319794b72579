"""The report: tables, text, charts, the comparison of two runs, the history."""

"""From rows to numbers: chat outcomes, metrics, blocks, comparisons, validity, summary.json."""

"""Services of other people: start, set up, check, and measure them."""

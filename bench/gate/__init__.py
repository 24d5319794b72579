"""Whether head is worse than base: effect, margin, verdict, and its exports."""

"""What is asked for: scenarios, strategies, schedules, the plan."""

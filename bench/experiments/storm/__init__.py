"""Storms and abuse: thousands of stops at once, a retry storm, an owner that churns, clients that do not read."""

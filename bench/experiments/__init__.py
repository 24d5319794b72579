"""Commands that measure one question of their own: doctor, calibrate, knee, relay, stop path, soak, prove, serve."""

"""Load from several processes or machines: a Locust master and its workers, their rows and their clocks."""

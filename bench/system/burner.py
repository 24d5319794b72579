"""Keeps one core busy until it is stopped: the other process beside which no change of docs may look worse."""

if __name__ == "__main__":
    while True:
        pass

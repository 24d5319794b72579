"""`python -m tests.bench.shrunk run ...`: the bench's command line with floor and calibration of a few chats.

For tests of a real process that ask what it does, not what it measures: the instrument takes most of a small run.
"""

import pytest

from bench.__main__ import main
from tests.bench.small_runs import shrink_the_instrument

if __name__ == "__main__":
    shrink_the_instrument(pytest.MonkeyPatch())
    main()

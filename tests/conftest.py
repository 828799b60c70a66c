"""For all tests."""

from __future__ import annotations

import signal

# A shell starts what runs in its background with interrupts ignored, which every child inherits: the tests that send
# them would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

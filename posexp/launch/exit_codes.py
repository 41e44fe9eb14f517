"""What a process ends with; 128 and more is the signal that stopped it."""

FAILED, BAD_INPUT, FULL, INTERRUPTED = 1, 2, 3, 130

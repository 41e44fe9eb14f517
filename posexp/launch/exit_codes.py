"""What a process ends with; 128 and more is the signal that stopped it."""

DONE, FAILED, BAD_INPUT, FULL, INTERRUPTED = 0, 1, 2, 3, 130

"""What may be said of results: intervals, contrasts, collapse."""

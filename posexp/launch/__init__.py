"""From a grid of runs to records: loading, planning, executing."""

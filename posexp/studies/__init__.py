"""From the records of a work directory to a memo for a decision; no JAX."""

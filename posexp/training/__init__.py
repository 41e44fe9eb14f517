"""From a run to trained weights: the loop, the step, checkpoints."""

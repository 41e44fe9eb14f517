"""What a trained model gets right, in which way it errs, where it looks."""

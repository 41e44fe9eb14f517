"""What a scheme does, found out before any training."""

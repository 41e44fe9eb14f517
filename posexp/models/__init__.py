"""The Flax transformer, its memory, its devices, generation."""

"""Time and memory that schemes take, side by side."""

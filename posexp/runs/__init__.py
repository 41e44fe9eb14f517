"""What a run is: its configuration, lengths and what a retrofit changes."""

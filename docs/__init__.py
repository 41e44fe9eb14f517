"""What writes pages of the documentation from docstrings."""

"""`python -m posexp` is `posexp`."""

from posexp.cli import main

if __name__ == '__main__':
  main.entry_point()

"""`python -m posexp` is `posexp`."""

from posexp import cli

if __name__ == '__main__':
  cli.entry_point()

"""Writes the pictures that README and docs show, small enough for a repository.

make images
"""

import pathlib
import sys

from PIL import Image

# A figure has few colours; this many keep its text smooth.
COLORS = 64


def main(source: str, target: str) -> None:
  with Image.open(source) as picture:
    small = picture.convert('RGB').quantize(COLORS)
  pathlib.Path(target).parent.mkdir(parents=True, exist_ok=True)
  small.save(target, optimize=True)


if __name__ == '__main__':
  main(*sys.argv[1:])

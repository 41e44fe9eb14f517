"""How everything in a figure looks: one style, and one look for each run."""

import pathlib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colors, lines, patches

from posexp.claims import intervals

# The width of a page's text and of a column of two, in inches: figures are read
# at these sizes.
WIDTH, COLUMN = 17 / 2.54, 8.5 / 2.54
# The width of a letter of 7 points, in inches.
LETTER = 0.0625

STYLE: dict[Any, Any] = dict(
  matplotlib.rc_params_from_file(
    pathlib.Path(__file__).with_name('paper.mplstyle'),
    use_default_template=False,
  )
)
# Decorates what draws or saves a figure: no global state is left behind.
styled = matplotlib.rc_context(STYLE)

GREY = '0.45'
COLORS: list[str] = STYLE['axes.prop_cycle'].by_key()['color']
# Markers differ too, so that colour is never needed.
MARKERS = 'osD^vPX<>ph*'
# A retrofit has its parent's colour, darker or lighter, and never a full line.
SHADES = (('black', 0.4), ('white', 0.3), ('black', 0.65), ('white', 0.5))
DASHES = ((0, (4, 1.5)), (0, (2, 0.9)), (0, (5, 1.2, 1.2, 1.2)))

# What became of a target: a column of results, its name, colour and hatch.
# Light, dark and hatched: they differ in grey as well.
Kinds = Sequence[tuple[str, str, str, str]]
KINDS: Kinds = (
  ('token', 'correct', '#E3E3E3', ''),
  ('order', 'order error', '#882255', ''),
  ('retrieval', 'retrieval error', '#44AA99', '/////'),
)


class Look(NamedTuple):
  """How a run is drawn, as keywords of matplotlib's `plot`."""

  color: Any
  marker: str
  linestyle: Any
  markerfacecolor: Any


Looks = dict[str, Look]  # by digest, or by name of what is no run


def looks(results: pd.DataFrame) -> Looks:
  """Return how each run is drawn; the same schemes alike in every task."""
  names = intervals.labels(results)
  parents = dict(zip(results['digest'], results['parent_digest']))
  by_name: Looks = {}
  retrofits: dict[str, int] = {}  # By family, a root run's name.
  for digest, name in names.items():
    root = digest
    while parents.get(root):
      root = parents[root]
    family = names.get(root, root)
    number = retrofits.setdefault(family, 0)
    if name in by_name:
      continue
    color = COLORS[list(retrofits).index(family) % len(COLORS)]
    marker = MARKERS[len(by_name) % len(MARKERS)]
    if root == digest:
      by_name[name] = Look(color, marker, '-', color)
    else:
      shade = blend(color, *SHADES[number % len(SHADES)])
      dash = DASHES[number % len(DASHES)]
      by_name[name] = Look(shade, marker, dash, 'white')
      retrofits[family] += 1
  return {digest: by_name[name] for digest, name in names.items()}


def ranked(
  results: pd.DataFrame, cells: pd.DataFrame, column: str = 'token'
) -> Looks:
  """Return the looks of the runs that have a value, the topmost line first.

  Args:
    results: a table as `records.load` gives it.
    cells: a row for each run and length, with the column.
    column: whose value at a run's longest length decides.
  """
  known = cells.dropna(subset=[column]).sort_values('length')
  last = known.drop_duplicates('digest', keep='last')
  order = last.sort_values(['length', column], ascending=False, kind='stable')
  by_digest = looks(results)
  return {digest: by_digest[digest] for digest in order['digest']}


def numbered(names: Iterable[str], reference: str | None = None) -> Looks:
  """Return a look for each name by its place; the reference dashed in grey."""
  others = [name for name in dict.fromkeys(names) if name != reference]
  by_name: Looks = {}
  if reference is not None:
    by_name[reference] = Look(GREY, 'h', '--', GREY)
  for place, name in enumerate(others):
    color = COLORS[place % len(COLORS)]
    marker = MARKERS[place % len(MARKERS)]
    by_name[name] = Look(color, marker, '-', color)
  return by_name


def keys(
  looks: Looks, names: Mapping[str, str], letters: int = 44
) -> list[lines.Line2D]:
  """Return the handles of a legend, an entry for each look.

  Args:
    looks: by what they are of.
    names: what that is called; lines are broken where they are too long.
    letters: in a line.
  """
  handles = []
  for run, look in looks.items():
    parts = [wrap(line, letters) for line in names[run].split('\n')]
    label = '\n'.join(parts)
    handles.append(lines.Line2D([], [], **look._asdict(), label=label))
  return handles


def kinds(shown: Kinds = KINDS) -> list[patches.Patch]:
  """Return the handles of a legend of what became of the targets."""
  return [
    patches.Patch(facecolor=c, hatch=h, edgecolor='white', lw=0, label=name)
    for _, name, c, h in shown
  ]


def blend(color: Any, other: Any, share: float) -> tuple[float, float, float]:
  """Return a colour with a share of another."""
  rgb, other_rgb = (np.array(colors.to_rgb(c)) for c in (color, other))
  red, green, blue = (1 - share) * rgb + share * other_rgb
  return red, green, blue


def wrap(text: str, letters: int, most: int = 3) -> str:
  """Return a label for a figure: without empty brackets, broken at spaces.

  Args:
    text: the label.
    letters: in a line.
    most: lines; what is more is cut.
  """
  text = text.replace('()', '').replace('->', '→')
  parts = textwrap.wrap(text, max(8, letters), max_lines=most, placeholder=' …')
  # A dollar sign would start mathematics.
  return '\n'.join(parts).replace('$', r'\$')

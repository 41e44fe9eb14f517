"""The figure of an explanation: a panel for each thing that a scheme does."""

import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, figure, lines, ticker
from matplotlib.backends import backend_agg

from posexp.plots import experiment
from posexp.results import explanations

# In inches: the title, a panel, its name above, its labels and the legend
# below, and what is beside it.
TITLE, HEIGHT, TOP, BELOW = 0.4, 1.9, 0.32, 0.85
LEFT, RIGHT, GAP = 0.6, 0.1, 0.75
HEADS = 6  # More are left out evenly.
UNSCALED: dict[str, Any] = {
  'color': experiment.GREY,
  'linestyle': '--',
  'linewidth': 1.0,
}

Panel = Callable[[axes.Axes, explanations.Explanation], None]


def save(
  found: explanations.Explanation, directory: str | os.PathLike
) -> list[pathlib.Path]:
  """Writes the figure as PNG and PDF, named after the scheme: their paths."""
  drawn = draw(found)
  return [] if drawn is None else experiment.save(drawn, directory, name(found))


def name(found: explanations.Explanation) -> str:
  """What files of an explanation are called."""
  words = re.sub(r'[^A-Za-z0-9.]+', '_', str(found.scheme)).strip('_')
  return words[:80]


def draw(found: explanations.Explanation) -> figure.Figure | None:
  """The figure of `save`, unsaved; None where a scheme does nothing."""
  panels = _panels(found)
  if not panels:
    return None
  row = TOP + HEIGHT + BELOW
  height = TITLE + math.ceil(len(panels) / 2) * row
  full = experiment.WIDTH - LEFT - RIGHT
  half = (full - GAP) / 2
  with matplotlib.rc_context(experiment.STYLE):
    drawn = figure.Figure((experiment.WIDTH, height))
    backend_agg.FigureCanvasAgg(drawn)
    title = (
      f'{_short(str(found.scheme), 60)}, trained at {found.train_length} '
      f'tokens, target {found.target}'
    )
    where = 0.1 / experiment.WIDTH, 1 - 0.2 / height
    drawn.text(*where, title, size=9, weight='bold', va='center')
    for place, panel in enumerate(panels):
      down, across = divmod(place, 2)
      alone = place == len(panels) - 1 and not across
      left = (LEFT + across * (half + GAP)) / experiment.WIDTH
      bottom = 1 - (TITLE + down * row + TOP + HEIGHT) / height
      wide = (full if alone else half) / experiment.WIDTH
      panel(drawn.add_axes((left, bottom, wide, HEIGHT / height)), found)
  return drawn


def _panels(found: explanations.Explanation) -> list[Panel]:
  """What there is to draw of a scheme."""
  content, biased = found.content is not None, found.bias_HxT is not None
  panels = [periods] * bool(found.rotations) + [resolution] * content
  panels += [bias, steps] * biased
  # Last, so that it is wide where their number is odd.
  return panels + [score] * (content or found.similarity_T is not None)


def periods(panel: axes.Axes, found: explanations.Explanation) -> None:
  """The period of each pair, before and after scaling."""
  panel.set_yscale('log')
  for place, rotation in enumerate(found.rotations):
    pair_K = np.arange(len(rotation.after_K))
    style: dict[str, Any] = {
      'marker': experiment.MARKERS[place],
      'markersize': 3,
    }
    if rotation.scaled:
      panel.plot(
        pair_K, rotation.before_K, **style, **UNSCALED, label='unscaled'
      )
    turning = np.isfinite(rotation.after_K)
    many = len(found.rotations) > 1
    name = rotation.name if many else 'scaled' if rotation.scaled else 'period'
    panel.plot(
      pair_K[turning],
      rotation.after_K[turning],
      **style,
      color=experiment.COLORS[place],
      label=_short(name, 24),
    )
  right = panel.get_xlim()[1]
  for length, name in _lengths(found):
    panel.axhline(length, color=experiment.GREY, lw=0.8, zorder=1)
    panel.text(
      right, length, f'{name} ', color=experiment.GREY, ha='right', va='bottom'
    )
  panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  panel.set_xlabel('pair k')
  panel.set_ylabel('period (tokens)')
  _finish(panel, 'Rotary pairs')


def score(panel: axes.Axes, found: explanations.Explanation) -> None:
  """How the score of two equal tokens falls."""
  _axis(panel, found)
  if found.content is not None:
    color = experiment.COLORS[0]
    n = found.distance_N
    panel.plot(n, found.content.score_N, color=color, label='q.k')
    panel.set_ylabel('score of equal tokens (1 at distance 0)')
  if found.similarity_T is not None:
    label = 'added vectors, p_i.p_j'
    n = np.arange(1, found.target)
    similar = found.similarity_T[1:]
    panel.plot(n, similar, color=experiment.COLORS[1], label=label)
    if found.content is None:
      panel.set_ylabel('inner product (1 at distance 0)')
  panel.axhline(0, color='0.8', lw=0.8, zorder=0)
  what = 'Added vectors' if found.content is None else 'Content'
  _finish(panel, f'{what} against distance')


def bias(panel: axes.Axes, found: explanations.Explanation) -> None:
  """The bias of each head, and the line that filled stairs sample."""
  assert found.bias_HxT is not None
  _axis(panel, found)
  n = np.arange(1, found.target)
  size = np.abs(found.bias_HxT[:, n])
  least = max(size[size > 0].min(initial=np.inf), 1e-6 * size.max())
  # Logarithmic on both sides of 0, for slopes of all heads to be seen.
  if np.isfinite(least):
    panel.set_yscale('symlog', linthresh=least)
  for color, head in _heads(found):
    label = f'head {head}'
    panel.plot(n, found.bias_HxT[head, n], color=color, label=label)
    for stairs in found.stairs:
      line = stairs.alibi_HxN[head, n]
      panel.plot(n, line, color=color, lw=0.8, ls=':')
  if found.bias_HxT[:, n].max() < 0:
    panel.set_ylim(top=-least / 1.5)  # 0 is far from here.
  extra = []
  if found.stairs:
    dots = lines.Line2D([], [], color='black', lw=0.8, ls=':', label='ALiBi')
    extra = [dots]
  panel.set_ylabel('bias (nats)')
  _finish(panel, 'Bias against distance', extra)


def resolution(panel: axes.Axes, found: explanations.Explanation) -> None:
  """What neighbours differ by in content."""
  content = found.content
  assert content is not None
  _axis(panel, found)
  n = found.distance_N
  if content.plain_N is not None:
    panel.plot(n, content.plain_N, **UNSCALED, label='unscaled')
  label = 'q.k' if content.plain_N is None else 'scaled'
  panel.plot(n, content.change_N, color=experiment.COLORS[0], label=label)
  panel.set_ylim(bottom=0, top=1.25 * panel.get_ylim()[1])
  panel.set_ylabel('rms change of q.k, n-1 to n (of its rms)')
  _finish(panel, 'Resolution of content')


def steps(panel: axes.Axes, found: explanations.Explanation) -> None:
  """What neighbours differ by in bias; nothing where they do not."""
  step_HxN = found.step_HxN
  assert step_HxN is not None
  _axis(panel, found)
  panel.set_yscale('log')
  ties = False
  for color, head in _heads(found):
    step_N = np.where(step_HxN[head] > 0, step_HxN[head], np.nan)
    ties = ties or bool(np.isnan(step_N).any())
    alone: dict[str, Any] = {'marker': 'o', 'markersize': 1.8} if ties else {}
    panel.plot(
      found.distance_N, step_N, color=color, label=f'head {head}', **alone
    )
  low, high = panel.get_ylim()
  panel.set_ylim(low / 1.5, high * 1.5)
  panel.set_ylabel('change of the bias, n-1 to n (nats)')
  title = 'Resolution of the bias' + (', no point: no change' if ties else '')
  _finish(panel, title)


def _heads(found: explanations.Explanation) -> list[tuple[str, int]]:
  assert found.bias_HxT is not None
  count = len(found.bias_HxT)
  some = np.linspace(0, count - 1, min(count, HEADS)).round()
  return list(zip(experiment.COLORS, map(int, some)))


def _lengths(found: explanations.Explanation) -> list[tuple[int, str]]:
  """The lengths to mark; one name for both where there is no room for two."""
  length, target = found.train_length, found.target
  if target == length:
    return [(length, 'trained, target')]
  if math.log(target / length) < 0.2 * math.log(1.2 * target):
    return [(length, ''), (target, 'trained, target')]
  return [(length, 'trained'), (target, 'target')]


def _axis(panel: axes.Axes, found: explanations.Explanation) -> None:
  """Distance, with the trained length and the target marked."""
  panel.set_xscale('log', base=2)
  panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f'{x:g}'))
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_xlim(0.9, found.target * 1.1)
  panel.set_xlabel('distance n (tokens)')
  for length, name in _lengths(found):
    panel.axvline(length, color=experiment.GREY, lw=0.8, zorder=1)
    where = panel.get_xaxis_transform()
    panel.text(
      length, 1.01, name, color=experiment.GREY, ha='right', transform=where
    )


def _finish(panel: axes.Axes, title: str, extra: Sequence[Any] = ()) -> None:
  panel.set_title(title, loc='left', pad=12, weight='bold')
  panel.grid(axis='y')
  handles = [*panel.get_legend_handles_labels()[0], *extra]
  if len(handles) > 1:
    below = -0.45 / HEIGHT
    how: dict[str, Any] = {'loc': 'upper left', 'bbox_to_anchor': (0, below)}
    how |= {
      'ncols': 3 if len(handles) in (5, 6) else 4,
      'handlelength': 1.6,
      'columnspacing': 1.2,
    }
    panel.legend(handles=handles, **how)


def _short(text: str, most: int) -> str:
  # A dollar sign would start mathematics.
  cut = text if len(text) <= most else f'{text[: most - 1]}…'
  return cut.replace('$', r'\$')

"""The figure of an explanation: a panel for each thing that a scheme does."""

import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines

from posexp import component
from posexp.plots import elements, layout, paper, style
from posexp.results.explanations import Explanation

HEADS = 6  # More are left out evenly.
UNSCALED: dict[str, Any] = {'color': style.GREY, 'ls': '--', 'lw': 1.0}

Part = Callable[[axes.Axes, Explanation], None]


def save(
  explanation: Explanation, directory: str | os.PathLike
) -> list[pathlib.Path]:
  """Write the figure as PNG and PDF, named after the scheme: their paths."""
  drawn = draw(explanation)
  if drawn is None:
    return []
  return paper.save(drawn, directory, name(explanation))


def name(explanation: Explanation) -> str:
  """Return what files of an explanation are called."""
  words = re.sub(r'[^A-Za-z0-9.]+', '_', str(explanation.scheme)).strip('_')
  return words[:80]


def explained(explanation: Explanation) -> paper.Plate:
  """Draw periods of rotary pairs, biases, and what a token of distance changes.

  Args:
    explanation: as `explanations.read` gives it.

  Raises:
    UserError: if the scheme does nothing that can be drawn.
  """
  drawn = draw(explanation)
  if drawn is None:
    raise component.UserError(
      f'{explanation.scheme} does nothing that can be drawn'
    )
  rotates = bool(explanation.rotations)
  what = 'Periods of rotary pairs, in tokens' if rotates else 'Bias'
  return paper.Plate(
    f'explain-{paper.slug(name(explanation))}',
    drawn,
    (_periods if rotates else _biases)(explanation),
    f'{what}: {explanation.scheme}, trained at {explanation.train_length} '
    f'tokens, target {explanation.target}.',
  )


def _periods(explanation: Explanation) -> pd.DataFrame:
  parts = []
  for rotation in explanation.rotations:
    many = f'{rotation.name}, ' if len(explanation.rotations) > 1 else ''
    pairs = {
      'before': rotation.before_K,
      'after': rotation.after_K,
      'times': rotation.stretch_K,
    }
    rows = [f'{many}pair {k}' for k in range(len(rotation.after_K))]
    parts.append(pd.DataFrame(pairs, rows))
  periods = pd.concat(parts)
  return periods.map(lambda n: f'{n:.4g}' if np.isfinite(n) else 'never')


def _biases(explanation: Explanation) -> pd.DataFrame:
  target, bias_HxT = explanation.target, explanation.bias_HxT
  if bias_HxT is None:
    return pd.DataFrame({'target': [f'{target}']}, ['tokens'])
  n = 2 ** np.arange((target - 1).bit_length())
  heads = [f'head {head}' for head in range(len(bias_HxT))]
  biases = pd.DataFrame(bias_HxT[:, n], heads, n).add_prefix('at ')
  return biases.map('{:.3g}'.format)


@style.styled
def draw(explanation: Explanation) -> figure.Figure | None:
  """Return the figure of `save`; None where a scheme does nothing."""
  parts = _parts(explanation)
  if not parts:
    return None
  places: list[Any] = [[n, n + 1] for n in range(0, len(parts), 2)]
  if len(parts) % 2:
    places[-1] = [len(parts) - 1] * 2  # The last is wide.
  drawn = layout.blank(style.WIDTH, 0.3 + 2.8 * len(places))
  scheme = style.wrap(str(explanation.scheme), 60, 1)
  lengths = explanation.train_length, explanation.target
  title = '{}, trained at {} tokens, target {}'
  layout.title(drawn, title.format(scheme, *lengths))
  panels = drawn.subplot_mosaic(places)
  for place, part in enumerate(parts):
    part(panels[place], explanation)
  return drawn


def _parts(explanation: Explanation) -> list[Part]:
  """Return what there is to draw of a scheme."""
  content = explanation.content is not None
  added = explanation.similarity_T is not None
  parts = [_pairs] * bool(explanation.rotations) + [_resolution] * content
  parts += [_bias, _steps] * (explanation.bias_HxT is not None)
  # Last, so that it is wide where their number is odd.
  return parts + [_score] * (content or added)


def _pairs(panel: axes.Axes, explanation: Explanation) -> None:
  """Draw the period of each pair, before and after scaling."""
  many = len(explanation.rotations) > 1
  for place, rotation in enumerate(explanation.rotations):
    after_K = np.where(np.isfinite(rotation.after_K), rotation.after_K, np.nan)
    pair_K = np.arange(len(after_K))
    look: dict[str, Any] = {'marker': style.MARKERS[place], 'ms': 3}
    if rotation.scaled:
      panel.plot(
        pair_K, rotation.before_K, **look, **UNSCALED, label='unscaled'
      )
    label = 'scaled' if rotation.scaled else 'period'
    label = style.wrap(rotation.name, 24, 1) if many else label
    look['color'] = style.COLORS[place]
    panel.plot(pair_K, after_K, **look, label=label)
  elements.period_axes(panel, 'pair k', _lengths(explanation))
  panel.set_ylabel('period (tokens)')
  _finish(panel, 'Rotary pairs')


def _score(panel: axes.Axes, explanation: Explanation) -> None:
  """Draw how the score of two equal tokens falls."""
  content, similarity_T = explanation.content, explanation.similarity_T
  label = 'score of equal tokens'
  if content is not None:
    n = explanation.distance_N
    panel.plot(n, content.score_N, color=style.COLORS[0], label='q.k')
  if similarity_T is not None:
    n = np.arange(1, explanation.target)
    what = 'added vectors, p_i.p_j'
    panel.plot(n, similarity_T[1:], color=style.COLORS[1], label=what)
    label = label if content is not None else 'inner product'
  panel.axhline(0, color='0.8', lw=0.8, zorder=0)
  what = 'Added vectors' if content is None else 'Content'
  panel.set_ylabel(f'{label} (1 at distance 0)')
  _against_distance(panel, explanation, f'{what} against distance')


def _bias(panel: axes.Axes, explanation: Explanation) -> None:
  """Draw the bias of each head, and the line that filled stairs sample."""
  assert explanation.bias_HxT is not None
  n = np.arange(1, explanation.target)
  size = np.abs(explanation.bias_HxT[:, n])
  least = max(size[size > 0].min(initial=np.inf), 1e-6 * size.max())
  # Logarithmic on both sides of 0, for slopes of all heads to be seen.
  if np.isfinite(least):
    panel.set_yscale('symlog', linthresh=least)
  for color, head in _heads(explanation):
    bias_T = explanation.bias_HxT[head]
    panel.plot(n, bias_T[n], color=color, label=f'head {head}')
    for stairs in explanation.stairs:
      panel.plot(n, stairs.alibi_HxN[head, n], color=color, lw=0.8, ls=':')
  if explanation.bias_HxT[:, n].max() < 0:
    panel.set_ylim(top=-least / 1.5)  # 0 is far from here.
  dots = lines.Line2D([], [], color='black', lw=0.8, ls=':', label='ALiBi')
  panel.set_ylabel('bias (nats)')
  extra = [dots] * bool(explanation.stairs)
  _against_distance(panel, explanation, 'Bias against distance', extra)


def _resolution(panel: axes.Axes, explanation: Explanation) -> None:
  """Draw what neighbours differ by in content."""
  content, n = explanation.content, explanation.distance_N
  assert content is not None
  if content.plain_N is not None:
    panel.plot(n, content.plain_N, **UNSCALED, label='unscaled')
  label = 'q.k' if content.plain_N is None else 'scaled'
  panel.plot(n, content.change_N, color=style.COLORS[0], label=label)
  panel.set_ylim(bottom=0, top=1.25 * panel.get_ylim()[1])
  panel.set_ylabel('rms change of q.k, n-1 to n (of its rms)')
  _against_distance(panel, explanation, 'Resolution of content')


def _steps(panel: axes.Axes, explanation: Explanation) -> None:
  """Draw what neighbours differ by in bias; nothing where they do not."""
  assert explanation.step_HxN is not None
  step_HxN = np.where(explanation.step_HxN > 0, explanation.step_HxN, np.nan)
  ties = bool(np.isnan(step_HxN).any())
  points: dict[str, Any] = {'marker': 'o', 'ms': 1.8} if ties else {}
  panel.set_yscale('log')
  for color, head in _heads(explanation):
    look = {'color': color, 'label': f'head {head}', **points}
    panel.plot(explanation.distance_N, step_HxN[head], **look)
  low, high = panel.get_ylim()
  panel.set_ylim(low / 1.5, high * 1.5)
  panel.set_ylabel('change of the bias, n-1 to n (nats)')
  title = 'Resolution of the bias' + (', no point: no change' if ties else '')
  _against_distance(panel, explanation, title)


def _heads(explanation: Explanation) -> list[tuple[str, int]]:
  assert explanation.bias_HxT is not None
  count = len(explanation.bias_HxT)
  some = np.linspace(0, count - 1, min(count, HEADS)).round()
  return list(zip(style.COLORS, map(int, some)))


def _lengths(explanation: Explanation) -> dict[int, str]:
  """Return the lengths to mark; one name where there is no room for two."""
  length, target = explanation.train_length, explanation.target
  if target == length:
    return {length: 'trained, target'}
  if math.log(target / length) < 0.2 * math.log(1.2 * target):
    return {length: '', target: 'trained, target'}
  return {length: 'trained', target: 'target'}


def _against_distance(
  panel: axes.Axes,
  explanation: Explanation,
  title: str,
  extra: Sequence[Any] = (),
) -> None:
  """Make the axis of distances, with trained length and target marked."""
  elements.token_axis(panel, 'distance n (tokens)')
  panel.set_xlim(0.9, explanation.target * 1.1)
  elements.mark(panel, _lengths(explanation))
  _finish(panel, title, extra)


def _finish(panel: axes.Axes, title: str, extra: Sequence[Any] = ()) -> None:
  panel.set_title(title, loc='left', pad=12, weight='bold')
  panel.grid(axis='y')
  handles = [*panel.get_legend_handles_labels()[0], *extra]
  if len(handles) > 1:
    panel.legend(
      handles=handles,
      loc='upper left',
      bbox_to_anchor=(0, -0.2),
      ncols=3 if len(handles) in (5, 6) else 4,
      handlelength=1.6,
      columnspacing=1.2,
    )

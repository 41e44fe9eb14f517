"""Perplexity by place in the context, from records: a table and a figure."""

import os
import pathlib
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, ticker
from matplotlib.backends import backend_agg

from posexp import component
from posexp.claims import intervals
from posexp.plots import experiment
from posexp.results import records

# In inches: the height of the figure, and what is left, right, below and
# above of a panel.
HEIGHT, LEFT, RIGHT, BELOW, TOP, GAP = 3.9, 0.5, 0.1, 1.5, 0.55, 0.55
# Bins in a doubling of the place.
PER_OCTAVE = 1


def edges(
  trained: int, longest: int, per_octave: int = PER_OCTAVE
) -> np.ndarray:
  """The first place of each bin and one past the last: geometric, distinct.

  The trained length is an edge: a bin holds places of which all, or none, are
  beyond it.

  Args:
    trained: the trained length, at least 2.
    longest: the length that the bins cover.
    per_octave: bins in a doubling.

  >>> edges(8, 32).tolist(), edges(8, 20, per_octave=2).tolist()
  ([1, 2, 4, 8, 16, 32], [1, 2, 3, 4, 6, 8, 11, 16, 20])
  """
  low = np.floor(-np.log2(trained) * per_octave)
  high = np.ceil(np.log2(longest / trained) * per_octave)
  places = np.round(trained * 2 ** (np.arange(low, high + 1) / per_octave))
  return np.unique(np.clip(places, 1, longest)).astype(np.int64)


def by_place(
  workdir: str | os.PathLike, digest: str, per_octave: int = PER_OCTAVE
) -> pd.DataFrame:
  """Perplexity by how many tokens stand before the target.

  Perplexity is exp of the mean nats of a bin's targets, seed by seed.

  Args:
    workdir: as given to `posexp run`.
    digest: the run, of a task with the stratum 'place'.
    per_octave: bins in a doubling of the place.

  Returns:
    One row a length, seed and bin, with columns first and last (places of the
    bin), nats, perplexity and targets.

  Raises:
    UserError: a sentence, if the run has no such stratum or no nats.
  """
  table = records.strata(workdir, digest, 'place')
  if table['nats'].isna().all():
    raise component.UserError(
      f'the record of {digest} has no nats, as it was written by a version '
      'without them: move it away and run it again'
    )
  record = records.read(workdir, digest)
  assert record is not None
  longest = int(table['length'].max())
  edge = edges(record['trained_length'], longest, per_octave)
  number = np.searchsorted(edge, table['place'], side='right') - 1
  table = table.assign(
    first=edge[number],
    last=edge[number + 1] - 1,
    nats=table['nats'] * table['targets'],
  )
  keys = ['length', 'seed', 'first', 'last']
  sums = table.groupby(keys)[['nats', 'targets']].sum().reset_index()
  sums['nats'] /= sums['targets']
  return sums.assign(perplexity=np.exp(sums['nats']))


def overview(
  results: pd.DataFrame, workdir: str | os.PathLike, name: str = 'perplexity'
) -> list[pathlib.Path]:
  """Writes the figure of runs of one task under a work directory.

  Args:
    results: of `records.load`.
    workdir: where the runs are, and where PNG and PDF go.
    name: of the files, without an ending.

  Returns:
    Their paths; none, if no seed of any run learned the task.
  """
  if not results['admitted'].any():
    return []
  runs = results['digest'].unique()
  frames = [by_place(workdir, run).assign(digest=run) for run in runs]
  drawn = draw(results, pd.concat(frames, ignore_index=True))
  return experiment.save(drawn, workdir, name)


def draw(results: pd.DataFrame, places: pd.DataFrame) -> figure.Figure:
  """The figure of `overview`, unsaved.

  On the left perplexity by place in the longest sequences, on the right that
  of all targets by length: geometric means over the admitted seeds with 95 %
  intervals, and on the right every one of these seeds.

  Args:
    results: of `records.load`.
    places: of `by_place`, with a column digest.
  """
  longest = results['length'].max()
  keys = results[['digest', 'seed', 'admitted']].drop_duplicates()
  places = places[places['length'] == longest].merge(keys)
  # The middle of a bin, on the axis that is shown.
  places = places.assign(x=np.sqrt(places['first'] * places['last']))
  with matplotlib.rc_context(experiment.STYLE):
    drawn = figure.Figure((experiment.WIDTH, HEIGHT))
    backend_agg.FigureCanvasAgg(drawn)
    left, right = _panels(drawn)
    _curves(left, places, experiment.looks(results), dots=False)
    left.set_xlabel(f'tokens before the target, in sequences of {longest:,}')
    left.set_ylabel('perplexity')
    _curves(
      right, results.assign(x=results['length']), experiment.looks(results)
    )
    right.set_xlabel('sequence length (tokens), all targets')
    for panel in (left, right):
      _scales(panel, results)
    # One scale for both, where all of both can be seen.
    ends = np.array([left.get_ylim(), right.get_ylim()])
    for panel in (left, right):
      panel.set_ylim(ends[:, 0].min(), ends[:, 1].max())
    _words(drawn, results)
  return drawn


def _panels(drawn: figure.Figure) -> list[axes.Axes]:
  wide = (experiment.WIDTH - LEFT - RIGHT - GAP) / 2
  size = wide / experiment.WIDTH, 1 - (BELOW + TOP) / HEIGHT
  starts = LEFT, LEFT + wide + GAP
  return [
    drawn.add_axes((x / experiment.WIDTH, BELOW / HEIGHT, *size))
    for x in starts
  ]


def _curves(
  panel: axes.Axes,
  table: pd.DataFrame,
  looks: experiment.Looks,
  dots: bool = True,
) -> None:
  """A line a run through its means over admitted seeds, with intervals."""
  admitted = table[table['admitted'].astype(bool)]
  for digest, run in admitted.groupby('digest', sort=False):
    look = looks[digest]._asdict()
    found = [
      (x, *intervals.interval(cell['nats'])[:3]) for x, cell in run.groupby('x')
    ]
    x, mean, low, high = np.array(found).T
    shade = {'color': look['color'], 'alpha': 0.18, 'linewidth': 0}
    band = panel.fill_between(x, np.exp(low), np.exp(high), **shade)
    band.set_gid(f'interval:{digest}')
    how = {**look, 'markersize': 3, 'gid': f'mean:{digest}'}
    panel.plot(x, np.exp(mean), **how)
    if dots:
      each: dict[str, Any] = {'color': look['color'], 'gid': f'seeds:{digest}'}
      panel.plot(run['x'], np.exp(run['nats']), 'o', markersize=1.5, **each)


def _scales(panel: axes.Axes, results: pd.DataFrame) -> None:
  trained = results['trained_length'].iloc[0]
  panel.set_xscale('log', base=2)
  panel.set_yscale('log')
  panel.xaxis.set_major_formatter(ticker.FormatStrFormatter('%d'))
  panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
  panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  panel.yaxis.set_minor_locator(ticker.NullLocator())
  panel.grid(axis='y')
  panel.axvline(trained, color=experiment.GREY, lw=0.8, gid='trained', zorder=1)
  panel.text(
    trained,
    1.01,
    f'trained at {trained}',
    color=experiment.GREY,
    ha='center',
    transform=panel.get_xaxis_transform(),
  )


def _words(drawn: figure.Figure, results: pd.DataFrame) -> None:
  """The title, and a legend that names what is not shown too."""
  names, looks = intervals.labels(results), experiment.looks(results)
  seeds = results.drop_duplicates(['digest', 'seed']).groupby('digest')
  admitted, number = seeds['admitted'].sum(), seeds.size()
  task, trained = results[['task', 'trained_length']].iloc[0]
  where = 0.1 / experiment.WIDTH, 1 - 0.17 / HEIGHT
  title = f'{task.replace("()", "")}, trained at {trained} tokens'
  drawn.text(*where, title, size=9, weight='bold', va='center')
  entries, shown = [], []
  for run, name in names.items():
    entry = name.replace('()', '')
    if not admitted[run]:
      entry += ', not admitted'
    elif admitted[run] < number[run]:
      entry += f', {admitted[run]} of {number[run]} seeds'
    entries.append(entry)
    line = lines.Line2D([], [], **looks[run]._asdict(), markersize=3)
    line.set_visible(bool(admitted[run]))
    shown.append(line)
  some = number.max()
  drawn.legend(
    shown,
    entries,
    loc='lower center',
    bbox_to_anchor=(0.5, 0.1 / HEIGHT),
    ncols=2,
    handlelength=3,
    title=f'means and 95% t intervals over {some} seeds'
    if some > 1
    else '1 seed',
  )

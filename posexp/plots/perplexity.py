"""Perplexity by place in the context and by length."""

import os
import pathlib

import numpy as np
import pandas as pd
from matplotlib import axes, figure, ticker

from posexp.claims import intervals
from posexp.plots import elements, layout, paper, style
from posexp.results import by_stratum


def overview(
  results: pd.DataFrame, workdir: str | os.PathLike, name: str = 'perplexity'
) -> list[pathlib.Path]:
  """Write the figure of runs of one task under a work directory.

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
  places = [by_stratum.perplexity(workdir, d).assign(digest=d) for d in runs]
  drawn = draw(results, pd.concat(places, ignore_index=True))
  return paper.save(drawn, workdir, name)


@style.styled
def draw(results: pd.DataFrame, places: pd.DataFrame) -> figure.Figure:
  """Return the figure of `overview`.

  On the left perplexity by place in the longest sequences, on the right that
  of all targets by length: geometric means over the admitted seeds with 95 %
  intervals, and every one of these seeds.

  Args:
    results: of `records.load`.
    places: of `by_stratum.perplexity`, with a column digest.
  """
  longest, trained = results['length'].max(), results['trained_length'].iloc[0]
  admitted = results[results['admitted'].astype(bool)]
  seeds = admitted[['digest', 'seed']].drop_duplicates()
  places = places[places['length'] == longest].merge(seeds)
  # The middle of a bin, on the axis that is shown.
  places = places.assign(place=np.sqrt(places['first'] * places['last']))
  by_digest = style.looks(results)
  known = set(seeds['digest'])
  looks = {d: look for d, look in by_digest.items() if d in known}
  keys = style.keys(by_digest, paper.entries(intervals.summarize(results)))
  for handle, digest in zip(keys, by_digest):
    handle.set_visible(digest in looks)
  drawn, (left, right) = layout.panels(
    ['by place in the longest sequences', 'all targets, by length'],
    keys,
    height=2.75,
    sharey=True,
  )
  layout.title(drawn, style.wrap(paper.in_words(results), 70, 1))
  elements.token_axis(left, f'tokens before the target, of {longest:,}')
  _curves(left, places, looks, 'place')
  elements.mark(left, {trained: f'trained at {trained:,} tokens'})
  elements.length_axis(right, results['length'], trained)
  _curves(right, admitted, looks, 'length')
  left.set_ylabel('perplexity')
  many = results['seed'].nunique()
  drawn.legends[0].set_title(
    f'geometric means and 95% t intervals over {many} seeds'
    if many > 1
    else '1 seed'
  )
  return drawn


def _curves(
  panel: axes.Axes, seeds: pd.DataFrame, looks: style.Looks, x: str
) -> None:
  """Draw exp of mean nats, whose intervals are computed in nats."""
  panel.set_yscale('log')
  panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
  panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  panel.yaxis.set_minor_locator(ticker.NullLocator())
  panel.grid(axis='y')
  cells = elements.means(seeds, ['digest', x], ['nats'])
  ends = ['nats', 'nats_low', 'nats_high']
  cells[ends] = np.exp(cells[ends])
  seeds = seeds.assign(nats=np.exp(seeds['nats']))
  elements.curves(panel, cells, 'nats', looks, x=x, seeds=seeds)

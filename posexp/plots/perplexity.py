"""Perplexity by place in the context and by length."""

import os
import pathlib

import numpy as np
import pandas as pd
from matplotlib import axes, figure, ticker

from posexp.claims import intervals
from posexp.plots import curves, elements, layout, paper, style
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
  known = admitted[['digest', 'seed']].drop_duplicates()
  places = places[places['length'] == longest].merge(known)
  # The middle of a bin, on the axis that is shown.
  places = places.assign(place=np.sqrt(places['first'] * places['last']))
  titles = 'by place in the longest sequences', 'all targets, by length'
  seeds = pd.concat(
    (
      curves.tidy(places, {'nats': titles[0]}, x='place'),
      curves.tidy(admitted, {'nats': titles[1]}),
    )
  )
  # Intervals are computed in nats.
  means = curves.means(seeds)
  means[curves.VALUES] = np.exp(means[curves.VALUES])
  seeds = seeds.assign(value=np.exp(seeds['value']))
  names = paper.entries(intervals.summarize(results))
  lines = curves.Curves(means, style.looks(results), names, seeds)

  def axis(panel: axes.Axes) -> None:
    if panel.get_title(loc='left') == titles[0]:
      elements.token_axis(panel, f'tokens before the target, of {longest:,}')
      panel.set_xlim(2**-0.3, longest * 2**0.3)
      elements.mark(panel, {trained: f'trained at {trained:,} tokens'})
    else:
      elements.length_axis(panel, results['length'], trained)
    panel.set_yscale('log')
    panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
    panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
    panel.yaxis.set_minor_locator(ticker.NullLocator())

  drawn, panels = lines.draw(axis, height=2.75, sharey=True)
  layout.title(drawn, style.wrap(paper.in_words(results), 70, 1))
  layout.ylabel(panels, 'perplexity')
  (legend,) = drawn.legends
  learned = set(known['digest'])
  for key, digest in zip(legend.legend_handles, lines.looks):
    if key is not None and digest not in learned:
      key.set_visible(False)
  many = results['seed'].nunique()
  legend.set_title(
    f'geometric means and 95% t intervals over {many} seeds'
    if many > 1
    else '1 seed'
  )
  return drawn

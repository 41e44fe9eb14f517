"""The page itself: one HTML file that fetches nothing."""

import base64
import hashlib
import importlib.resources
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
import pandas as pd
from matplotlib import colors

from posexp.claims import intervals
from posexp.plots import experiment, report
from posexp.reports import findings
from posexp.results import files

NAME = 'report.html'
# Rows of the table of comparisons, those that are claimed first: a grid of
# hundreds of runs has too many pairs for a page.
PAIRS = 500


def write(
  workdir: str | os.PathLike,
  output: str | os.PathLike | None = None,
  progress: str = '',
  tell: Callable[[float], None] = lambda _: None,
) -> pathlib.Path:
  """Writes the report of a work directory; its path.

  Args:
    workdir: as given to `posexp run`.
    output: the file; WORKDIR/report.html by default.
    progress: what `posexp status` says, '' if nothing is to be said.
    tell: called from time to time with the share of the work since.

  Raises:
    UserError: if there is no such directory.
  """
  found = findings.load(workdir, progress)
  path = pathlib.Path(output or pathlib.Path(workdir) / NAME)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.put(path, compose(found, tell).encode(), over=True)
  return path


def compose(
  found: findings.Evidence, tell: Callable[[float], None] = lambda _: None
) -> str:
  """The page as HTML; the same evidence gives the same text."""
  read = lambda name: (
    importlib.resources.files('posexp.reports')
    .joinpath(name)
    .read_text('utf-8')
  )
  environment = jinja2.Environment(
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  script = read('script.js')
  digest = hashlib.sha256(script.encode()).digest()
  looks = experiment.looks(found.results) if len(found.results) else {}
  light, dark = report.themes(looks.values())
  return environment.from_string(read('page.html')).render(
    found=found,
    style=read('style.css') % {'light': light, 'dark': dark},
    script=script,
    hash=base64.b64encode(digest).decode(),
    questions=_questions(found, looks, tell),
    rows=_rows(found.cells, intervals.questions(found.cells)),
    schemes=_schemes(found, looks),
    lengths=sorted(set(found.cells['length'])),
    pairs=_pairs(found.pairs, intervals.questions(found.cells)),
    more_pairs=max(0, len(found.pairs) - PAIRS),
    not_admitted=findings.not_admitted(found) if len(found.results) else [],
    configs=found.configs,
  )


# What tasks at a trained length are called.
Names = Mapping[tuple[str, int], str]


def _questions(
  found: findings.Evidence,
  looks: dict[str, experiment.Look],
  tell: Callable[[float], None],
) -> list[dict[str, Any]]:
  """Of each question its name, its figures and what can be claimed."""
  listed = []
  every = list(findings.questions(found))
  for place, (task, trained, cells) in enumerate(every):
    rows = found.results[found.results['digest'].isin(cells['digest'])]
    admitted = bool((cells['n_admitted'] > 0).any())
    drawn = [
      (
        measure.title,
        report.svg(measure, cells, rows, looks, f'figure{place}-{measure.key}'),
      )
      for measure in report.MEASURES
      if admitted
    ]
    listed.append(
      {
        'title': f'{task}, trained at {trained} tokens',
        'runs': ' '.join(dict.fromkeys(cells['digest'])),
        'figures': drawn,
        'claims': findings.claims(found, task, trained),
      }
    )
    tell(1 / len(every))
  return listed


def _schemes(
  found: findings.Evidence, looks: dict[str, experiment.Look]
) -> list[dict[str, Any]]:
  """Every kind of run by its label, with a swatch and its digests."""
  by_label: dict[str, list[str]] = {}
  runs = found.cells.drop_duplicates('digest')
  for digest, label in zip(runs['digest'], runs['label']):
    by_label.setdefault(label, []).append(digest)
  return [
    {
      'label': label,
      'runs': ' '.join(digests),
      'swatch': swatch(looks[digests[0]]),
    }
    for label, digests in by_label.items()
  ]


_SHAPES = {
  'o': '<circle cx="14" cy="6" r="3.4"/>',
  's': '<path d="M11 3h6v6h-6z"/>',
  'D': '<path d="M14 2l4 4-4 4-4-4z"/>',
  '^': '<path d="M14 2l4 7h-8z"/>',
  'v': '<path d="M14 10l4-7h-8z"/>',
  '<': '<path d="M10 6l7-4v8z"/>',
  '>': '<path d="M18 6l-7-4v8z"/>',
  'P': '<path d="M12.6 2h2.8v2.6H18v2.8h-2.6V10h-2.8V7.4H10V4.6h2.6z"/>',
  'X': '<path d="M11 1.6l3 3 3-3 1.6 1.6-3 3 3 3-1.6 1.6-3-3-3 3-1.6-1.6 '
  '3-3-3-3z"/>',
  'p': '<path d="M14 2l4 3-1.6 4.6h-4.8L10 5z"/>',
  'h': '<path d="M14 2l3.5 2v4L14 10l-3.5-2V4z"/>',
  '*': '<path d="M14 1.5l1.2 3h3.1L15.9 6.5l.9 3.2L14 7.9l-2.8 1.8.9-3.2'
  '-2.4-2h3.1z"/>',
}


def swatch(look: experiment.Look) -> str:
  """A line with a marker, as a legend has it."""
  color = colors.to_hex(look.color)
  value = f'var(--c{color[1:]},{color})'
  dash = ''
  if look.linestyle != '-':
    dash = f' stroke-dasharray="{" ".join(map(str, look.linestyle[1]))}"'
  hollow = look.markerfacecolor == 'white'
  fill = 'var(--page)' if hollow else value
  return (
    '<svg class="swatch" aria-hidden="true" viewBox="0 0 28 12" width="28" '
    f'height="12"><path d="M0 6h28" style="stroke:{value}"{dash}/>'
    f'<g style="fill:{fill};stroke:{value}">{_SHAPES[look.marker]}</g></svg>'
  )


def percent(value: float, digits: int = 1) -> str:
  """A share in percent, '–' where there is none.

  >>> percent(0.1234), percent(float('nan'))
  ('12.3', '–')
  """
  return '–' if math.isnan(value) else f'{100 * value:.{digits}f}'


def _ends(row: Mapping[Any, Any], column: str) -> str:
  low, high = row[f'{column}_low'], row[f'{column}_high']
  return '' if math.isnan(low) else f' [{percent(low)}, {percent(high)}]'


def _rows(cells: pd.DataFrame, names: Names) -> list[dict[str, Any]]:
  """Every run at every length, as text and as what it is sorted by."""
  rows = []
  for row in cells.to_dict('records'):
    shares = 'mean', 'iqm', 'success', 'order', 'retrieval'
    values = {
      name: (percent(row[name]) + _ends(row, name), row[name])
      for name in shares
    }
    won = row['success']
    if not math.isnan(won):
      text = f'{row["successes"]} of {row["n_admitted"]}{_ends(row, "success")}'
      values['success'] = (text, won)
    rank = row['rank']
    tied = 0 if math.isnan(row['tied']) else int(row['tied'])
    rows.append(
      {
        **{name: row[name] for name in ('digest', 'label', 'task', 'length')},
        'trained': row['trained_length'],
        'short': names[row['task'], row['trained_length']],
        'seeds': f'{row["n_admitted"]} of {row["n_seeds"]}',
        'values': values,
        'rank': '–' if math.isnan(rank) else f'{rank:.0f}',
        'tied': f', tied with {tied}' if tied else '',
      }
    )
  return rows


def _pairs(pairs: pd.DataFrame, names: Names) -> list[dict[str, Any]]:
  """The comparisons to list: claimed ones first, then the largest."""
  size = pairs['effect'].abs()
  order = pd.DataFrame(
    {'claimed': ~pairs['claimed'].astype(bool), 'size': -size}
  )
  first = order.sort_values(['claimed', 'size'], kind='stable').index[:PAIRS]
  return [
    {
      **{name: row[name] for name in ('task', 'length', 'label', 'against')},
      'short': names[row['task'], row['trained_length']],
      **{name: row[name] for name in ('one', 'other', 'n', 'effect')},
      'text': (
        f'{100 * row["effect"]:+.1f} [{100 * row["low"]:+.1f}, '
        f'{100 * row["high"]:+.1f}]'
        if row['n'] > 1
        else '–'
      ),
      'p': '–' if math.isnan(row['holm']) else f'{row["holm"]:.2g}',
      'verdict': 'claimed' if row['claimed'] else 'tie',
    }
    for row in pairs.loc[first].to_dict('records')
  ]

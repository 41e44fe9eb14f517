"""The report of a work directory: one HTML file that fetches nothing."""

import base64
import functools
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import report, style
from posexp.reports import contrasts_text, templates
from posexp.reports import findings as findings_lib
from posexp.results import files

NAME = 'report.html'
# Rows of the table to explore, those that differ first: a grid of hundreds of
# runs has too many pairs for a page.
PAIRS = 500


def write(
  workdir: str | os.PathLike,
  output: str | os.PathLike | None = None,
  progress: str = '',
  tell: Callable[[float], None] = lambda _: None,
) -> pathlib.Path:
  """Write the report of a work directory, and return its path.

  Args:
    workdir: as given to `posexp run`.
    output: the file; WORKDIR/report.html by default.
    progress: what `posexp status` says, '' if nothing is to be said.
    tell: called from time to time with the share of the work since.

  Raises:
    UserError: if there is no such directory.
  """
  findings = findings_lib.load(workdir, progress)
  path = pathlib.Path(output or pathlib.Path(workdir) / NAME)
  path.parent.mkdir(parents=True, exist_ok=True)
  files.put(path, compose(findings, tell).encode(), over=True)
  return path


def compose(
  findings: findings_lib.Findings,
  tell: Callable[[float], None] = lambda _: None,
) -> str:
  """Return the page as HTML; the same findings give the same text."""
  looks = style.looks(findings.results) if len(findings.results) else {}
  script = templates.read('script.js')
  digest = hashlib.sha256(script.encode()).digest()
  questions = dict(_questions(findings, looks, tell))
  return templates.template('page.html').render(
    findings=findings,
    script=script,
    hash=base64.b64encode(digest).decode(),
    questions=questions,
    schemes=_schemes(findings, looks),
    lengths=sorted(set(findings.cells['length'])),
    rows=_of_questions(findings.cells, questions),
    planned=_of_questions(findings.planned, questions),
    pairs=_of_questions(findings.pairs.head(PAIRS), questions),
    more_pairs=max(0, len(findings.pairs) - PAIRS),
    not_admitted=list(findings_lib.not_admitted(findings.cells)),
    text=contrasts_text,
    dumps=functools.partial(json.dumps, indent=1),
    format=format_lib,
    isnan=math.isnan,
  )


def _questions(
  findings: findings_lib.Findings,
  looks: style.Looks,
  tell: Callable[[float], None],
) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
  """Yield each question with its names, its figures and its comparisons."""
  names = intervals.questions(findings.cells)
  for number, (key, short) in enumerate(names.items()):
    cells, planned = (
      table[(table['task'] == key[0]) & (table['trained_length'] == key[1])]
      for table in (findings.cells, findings.planned)
    )
    rows = findings.results[findings.results['digest'].isin(cells['digest'])]
    measures = report.MEASURES if cells['n_admitted'].any() else ()
    yield (
      key,
      {
        'number': number,
        'title': f'{key[0]}, trained at {key[1]} tokens',
        'short': short,
        'planned': planned.to_dict('records'),
        'figures': {
          m.title: report.draw(m, cells, rows, looks, f'{number}-{m.column}')
          for m in measures
        },
      },
    )
    tell(1 / len(names))


def _schemes(
  findings: findings_lib.Findings, looks: style.Looks
) -> list[dict[str, str]]:
  """Return every kind of run by its label, with a swatch and its digests."""
  runs = findings.cells.drop_duplicates('digest')
  schemes = []
  for label, group in runs.groupby('label', sort=False):
    digest = group['digest'].iloc[0]
    schemes.append(
      {
        'label': str(label),
        'runs': ' '.join(group['digest']),
        'swatch': report.swatch(looks[digest], f'swatch-{digest}'),
      }
    )
  return schemes


def _of_questions(
  table: pd.DataFrame, questions: dict[tuple[str, int], dict[str, Any]]
) -> list[dict[Any, Any]]:
  """Return the rows of a table, each with its question."""
  rows = table.to_dict('records')
  return [
    row | {'question': questions[row['task'], row['trained_length']]}
    for row in rows
    if (row['task'], row['trained_length']) in questions
  ]

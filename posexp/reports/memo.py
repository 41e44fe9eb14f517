"""The memo of a study: WORKDIR/memo.md, memo.html and its figures."""

import itertools
import os
import pathlib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from posexp.claims import collapse, contrasts
from posexp.claims import format as format_lib
from posexp.plots import study_figures
from posexp.reports import document, memo_facts, memo_tables, templates
from posexp.results import files
from posexp.studies import compare, criteria, plan, rules, verdict
from posexp.studies import evidence as evidence_lib

# Whose names and docstrings the templates use.
MODULES = (collapse, compare, criteria, plan, rules)
# Of `memo_facts`, what the sentences do to values.
FILTERS = (
  *('differing', 'each', 'failing', 'gaining', 'grouped', 'lacks', 'leading'),
  *('selecting', 'tasks', 'times'),
)
NAMES = {module.__name__.split('.')[-1]: module for module in MODULES}


def write(workdir: str | os.PathLike) -> list[pathlib.Path]:
  """Write the memo of a work directory, and return the paths written.

  What has not finished is listed as missing, and the rest is judged.

  Raises:
    UserError: if the directory has no study.json.
  """
  return publish(load(workdir), workdir)


def load(workdir: str | os.PathLike) -> evidence_lib.Evidence:
  """Return the tables behind the study of a work directory."""
  return evidence_lib.load(workdir, plan.read(workdir))


def answer(
  evidence: evidence_lib.Evidence, cases: Sequence[verdict.Case] | None = None
) -> str:
  """Return the answer in one paragraph, as the memo gives it."""
  cases = verdict.verdicts(evidence) if cases is None else cases
  return _sentences(evidence).answer(cases)


def _sentences(evidence: evidence_lib.Evidence) -> types.SimpleNamespace:
  """Return the macros of `memo_sentences.jinja` as functions to plain text."""
  template = templates.template(
    'memo_sentences.jinja',
    memo_facts.plain,
    autoescape=False,
    **{name: getattr(memo_facts, name) for name in FILTERS},
    points=memo_facts.points,
  )
  module = template.make_module(
    {
      'study': evidence.study,
      'format': format_lib,
      'label': study_figures.label,
      'contrasts': contrasts,
      **NAMES,
    }
  )
  return types.SimpleNamespace(
    **{
      name: memo_facts.spoken(value) if callable(value) else value
      for name, value in vars(module).items()
      if not name.startswith('_')
    }
  )


def publish(
  evidence: evidence_lib.Evidence,
  workdir: str | os.PathLike,
  mechanisms: Iterable[document.Block] = (),
  cases: Sequence[verdict.Case] | None = None,
) -> list[pathlib.Path]:
  """Write the memo of given tables, and return the paths written.

  Args:
    evidence: the tables.
    workdir: where to.
    mechanisms: blocks of the memo, on why the options behave as they do.
    cases: the verdicts, where they are known already.
  """
  cases = verdict.verdicts(evidence) if cases is None else cases
  figures = {r: _figures(evidence, r) for r in evidence.study.regimes}
  mechanisms = list(mechanisms)
  pictures = {
    block.name: block.png
    for block in itertools.chain(*figures.values(), mechanisms)
    if isinstance(block, document.Picture)
  }
  text = markdown(evidence, cases, mechanisms, figures)
  page = document.as_html(text, pictures)
  contents = {'memo.md': text.encode(), 'memo.html': page.encode(), **pictures}
  paths = [pathlib.Path(workdir) / name for name in contents]
  for path, content in zip(paths, contents.values()):
    files.put(path, content, over=True)
  return paths


def markdown(
  evidence: evidence_lib.Evidence,
  cases: Sequence[verdict.Case],
  mechanisms: Sequence[document.Block] = (),
  figures: Mapping[str, Sequence[document.Picture]] | None = None,
) -> str:
  """Return the memo as Markdown, the question and the answer first."""
  return document.render(
    'memo.md.jinja',
    evidence=evidence,
    study=evidence.study,
    cases=cases,
    mechanisms=mechanisms,
    figures=figures or {},
    **_about_runs(evidence),
    format=format_lib,
    text=_sentences(evidence),
    facts=memo_facts,
    tables=memo_tables,
    **NAMES,
  )


def _about_runs(evidence: evidence_lib.Evidence) -> dict[str, Any]:
  """Return with what the runs were computed, and how long each took."""
  runs = evidence.runs.values()
  versions = {
    ', '.join(f'{name} {number}' for name, number in run['versions'].items())
    for run in runs
  }
  return {
    'newest': max((run['written'] for run in runs), default=None),
    'devices': sorted({run['device'] or 'not recorded' for run in runs}),
    'versions': sorted(versions),
    'seconds': [run['seconds'] for run in runs if run['seconds']],
  }


def _figures(
  evidence: evidence_lib.Evidence, regime: str
) -> list[document.Picture]:
  """Return the figures of a regime."""
  study = evidence.study
  captions = {
    'accuracy': 'Accuracy by length, mean over tasks and admitted seeds with '
    f'95% intervals; {regime}. The line marks the trained length.',
    'errors': f'Order and retrieval errors at {study.target:,} tokens, mean '
    f'over tasks, with 95% intervals; {regime}.',
    'square': 'Base scaling and bias, each with and without the other, at '
    f'{study.target:,} tokens; {regime}. Parallel lines are no interaction.',
  }
  number = study.regimes.index(regime)
  return [
    document.Picture(f'memo_{name}_{number}.png', captions[name], png)
    for name, png in study_figures.draw(evidence, regime).items()
  ]

"""The memo of a study: WORKDIR/memo.md, memo.html and its figures."""

import os
import pathlib
import types
from collections.abc import Iterable, Iterator, Sequence

from posexp.claims import collapse
from posexp.plots import study_figures
from posexp.reports import document, memo_details, memo_tables, memo_text
from posexp.results import files
from posexp.studies import evidence, plan, rules, verdict
from posexp.studies.verdict import Case

KINDS = {
  'regression': 'What to fix first after a stretched context',
  'choice': 'How to extend a context',
}


def write(workdir: str | os.PathLike) -> list[pathlib.Path]:
  """Writes the memo of a work directory; the paths of all that was written.

  What has not finished is listed as missing, and the rest is judged.

  Raises:
    UserError: if the directory has no study.json.
  """
  return publish(load(workdir), workdir)


def load(workdir: str | os.PathLike) -> evidence.Evidence:
  """The tables behind the study of a work directory."""
  return evidence.load(workdir, plan.read(workdir))


def publish(
  found: evidence.Evidence,
  workdir: str | os.PathLike,
  mechanisms: Iterable[document.Block] = (),
  cases: Sequence[Case] | None = None,
) -> list[pathlib.Path]:
  """Writes the memo of given tables, with blocks on mechanisms.

  Args:
    found: the tables.
    workdir: where to.
    mechanisms: blocks of the memo.
    cases: the verdicts, where they are known already.
  """
  cases = verdict.verdicts(found) if cases is None else cases
  blocks = tuple(compose(found, cases, mechanisms))
  directory = pathlib.Path(workdir)
  contents = {
    'memo.md': document.as_markdown(blocks).encode(),
    'memo.html': document.as_html(blocks).encode(),
    **{b.name: b.png for b in blocks if isinstance(b, document.Picture)},
  }
  for name, content in contents.items():
    files.put(directory / name, content, over=True)
  return [directory / name for name in contents]


def answer(
  found: evidence.Evidence, cases: Sequence[Case] | None = None
) -> str:
  """The answer in one paragraph, as the memo gives it."""
  cases = verdict.verdicts(found) if cases is None else cases
  return memo_text.answer(found, cases)


def compose(
  found: evidence.Evidence,
  cases: Sequence[Case],
  mechanisms: Iterable[document.Block] = (),
) -> Iterator[document.Block]:
  """The blocks of the memo, the question and the answer first."""
  study = found.study
  yield document.Heading(title(found), 1)
  yield document.Text(study.question, 'Question.')
  yield document.Text(memo_text.answer(found, cases), 'Answer.')
  if lines := tuple(memo_text.by_case(found, cases)):
    yield document.Bullets(lines)
  yield document.Text(memo_text.standing(found), 'Standing.')
  yield document.Text(memo_text.regimes(cases), 'Regimes.')
  for case in cases:
    yield document.Heading(f'Verdict: {memo_text.name(case)}')
    yield document.Bullets(tuple(memo_details.details(found, case)))
    if case.judged:
      yield memo_tables.options(found, case)
  for number, regime in enumerate(study.regimes):
    yield from _evidence(found, regime, number)
  if mechanisms := tuple(mechanisms):
    yield document.Heading('Mechanism')
    yield from mechanisms
  yield from _bullets('What was not tested', study.untested)
  yield from _bullets('What transfers to full size', study.transfers)
  yield document.Heading('Rules')
  yield from _rules(rules)
  yield document.Heading('When attention collapsed', 3)
  yield from _rules(collapse)
  yield from _again(found)


def title(found: evidence.Evidence) -> str:
  """What the memo is of, how large, and from when."""
  study = found.study
  newest = max((run['written'] for run in found.runs.values()), default=None)
  when = f'newest record {newest:%Y-%m-%d}' if newest else 'no record yet'
  return (
    f'{KINDS[study.kind]}: {study.trained_length:,} to {study.target:,} tokens '
    f'(size {study.size}, {when})'
  )


def _evidence(
  found: evidence.Evidence, regime: str, number: int
) -> Iterator[document.Block]:
  """The cells and the figures of a regime."""
  study = found.study
  yield document.Heading(f'Evidence: {regime}')
  yield document.Text(
    'A row is a cell: means over admitted seeds in percent, with the 95% t '
    'interval of each. Order and retrieval errors are means over tasks. '
    'Ratios are to the time of the root, medians with 95% intervals.'
  )
  yield memo_tables.cells(found, regime)
  captions = {
    'accuracy': 'Accuracy by length, mean over tasks and admitted seeds with '
    f'95% t intervals; {regime}. The line marks the trained length.',
    'errors': f'Order and retrieval errors at {study.target:,} tokens, mean '
    f'over tasks, with 95% t intervals; {regime}.',
    'square': 'Base scaling and bias, each with and without the other, at '
    f'{study.target:,} tokens; {regime}. Parallel lines are no interaction.',
  }
  for name, png in study_figures.draw(found, regime).items():
    yield document.Picture(f'memo_{name}_{number}.png', captions[name], png)


def _bullets(heading: str, lines: Iterable[str]) -> Iterator[document.Block]:
  lines = tuple(lines)
  yield document.Heading(heading)
  yield (
    document.Bullets(lines)
    if lines
    else document.Text('The study says nothing.')
  )


def _rules(module: types.ModuleType) -> Iterator[document.Block]:
  """The rules as a module's docstring states them: paragraphs and lists."""
  for block in (module.__doc__ or '').strip().split('\n\n')[1:]:
    if block.startswith('* '):
      rules_ = f'\n{block}'.split('\n* ')[1:]
      yield document.Bullets(tuple(' '.join(rule.split()) for rule in rules_))
    else:
      yield document.Text(block)


def _again(found: evidence.Evidence) -> Iterator[document.Block]:
  """The command, and with what and how long it ran."""
  study, runs = found.study, found.runs
  yield document.Heading('How to run it again')
  yield document.Code(study.command)
  if study.adaptation:
    yield document.Text(
      f'Adapted means: {study.adaptation}.'.replace('..', '.')
    )
  if not runs:
    yield document.Text('No run has finished.')
    return
  versions = {
    ', '.join(f'{name} {number}' for name, number in run['versions'].items())
    for run in runs.values()
  }
  devices = {run['device'] or 'not recorded' for run in runs.values()}
  seconds = [run['seconds'] for run in runs.values() if run['seconds']]
  yield document.Bullets(
    (
      f'Runs: {len(runs)}, in {sum(seconds):,.0f} seconds in all, by the '
      f'records of {len(seconds)}.',
      f'Device: {" / ".join(sorted(devices))}.',
      f'Versions: {" / ".join(sorted(versions)) or "not recorded"}.',
    )
  )
  if found.missing:
    yield document.Heading('Not finished', 3)
    rows = [
      (c.option, c.variant, c.regime, c.schedule, c.digest)
      for c in found.missing
    ]
    head = ('option', 'variant', 'regime', 'schedule', 'run')
    yield document.Table(head, tuple(rows))

"""What a study asks and which runs answer it: WORKDIR/study.json, no JAX."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from posexp import component
from posexp.results import files

FORMAT = 1
NAME = 'study.json'

# What is said of a study and changes nothing in it.
WORDS = ('question', 'command', 'adaptation', 'transfers', 'untested')
# The experiment file that makes each kind of study.
FILES = {
  'regression': 'experiments/study_regression.py',
  'choice': 'experiments/study_choice.py',
}
# The fields of a cell that say what it stands for.
PLACE = ('regime', 'variant', 'option', 'schedule')
VARIANTS = ('', 'A', 'B')
SCHEDULES = ('trained', 'zero-shot', 'adapted')

# Options of a regression: what is left of two changes, or put in their place.
ROOT, DEPLOYED = 'root', 'deployed'
SCALED, BIASED = 'base scaling', 'bias'
# Of a choice: the root, adapted and otherwise as it is.
UNCHANGED = 'no change'
FIXES = (SCALED, BIASED, 'interpolation', 'by parts', 'YaRN')
OPTIONS = (ROOT, DEPLOYED, *FIXES)
SHOWN = {
  DEPLOYED: 'deployed (base scaling + bias)',
  SCALED: 'base scaling alone',
  BIASED: 'bias alone',
  **{option: f'{option} + bias' for option in FIXES[2:]},
}

# A case, of which there is one verdict: regime, variant and schedule; in a
# choice the last two are ''.
Group = tuple[str, str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell(component.Component):
  """One run of a study, and what it stands for.

  Attributes:
    digest: the run.
    regime: the base that the model was trained with, as one reads it.
    variant: of the bias, in a regression: 'A' (fixed, linear in the distance)
      or 'B' (learned, in buckets); '' where there is no bias.
    option: one of `OPTIONS` in a regression, else the candidate's name or
      'root', the trained model as it is.
    schedule: 'trained' for a root, else 'zero-shot' or 'adapted'.

  Raises:
    UserError: for an unknown variant or schedule.
  """

  digest: str
  regime: str
  option: str
  schedule: str = component.field(one_of=SCHEDULES)
  variant: str = component.field('', one_of=VARIANTS)

  def __post_init__(self):
    super().__post_init__()
    _require_words(self, 'digest', 'regime', 'option')

  @property
  def place(self) -> tuple[str, ...]:
    """Return what it stands for, in the order of `PLACE`."""
    return tuple(getattr(self, name) for name in PLACE)

  @property
  def label(self) -> str:
    """Return the option and its variant: what is looked up and timed once."""
    return f'{self.option} {self.variant}'.strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(component.Component):
  """A question, and the runs that answer it.

  Attributes:
    kind: 'regression' or 'choice'.
    size: how large the runs are, in a word: it names the study.
    question: as it was asked, in sentences.
    trained_length: of the roots, in tokens.
    target: the length that matters, in tokens.
    tasks: names of the tasks of the mixture, by their index there.
    cells: the runs.
    command: how to run it all again.
    adaptation: what 'adapted' means, in a sentence.
    transfers: what carries over to full size and what may not, in sentences.
    untested: what was not tested, in sentences.
    gate: the least token accuracy of the root in every task at the trained
      length; seeds below it do not count.
    lookups: by `Cell.label`, how many learned numbers are looked up for a
      decoded token, a head and a layer: at the trained length and the target.

  Raises:
    UserError: for a kind that is not known, lengths out of order, a cell that
      is there twice, or an option that the kind does not have.
  """

  kind: str = component.field(one_of=tuple(FILES))
  size: str
  question: str
  trained_length: int = component.field(at_least=2)
  target: int = component.field(
    above='trained_length', remedy='a study is of a longer context'
  )
  tasks: tuple[str, ...]
  cells: tuple[Cell, ...]
  command: str
  adaptation: str
  transfers: tuple[str, ...] = ()
  untested: tuple[str, ...] = ()
  gate: float = component.field(0.99, above=0, at_most=1, remedy='0.99 is 99 %')
  lookups: Mapping[str, tuple[float, float]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    super().__post_init__()
    _require_words(self, 'size', 'question', 'command')
    if not self.tasks or not self.cells:
      raise component.UserError(
        f'tasks and cells of Study must not be empty, got {len(self.tasks)} '
        f'and {len(self.cells)}: give the names of the tasks and the runs'
      )
    self._check_cells()
    self._check_lookups()

  def _check_cells(self):
    seen: dict[tuple[str, ...], str] = {}
    for cell in self.cells:
      if self.kind == 'regression':
        component.require(cell, 'option', one_of=OPTIONS)
      elif cell.variant:
        raise component.UserError(
          f"variant of a cell of a choice must be '', got {cell.variant!r}: "
          'name the candidate by its option'
        )
      if cell.place in seen:
        raise component.UserError(
          f'two cells of Study stand for {cell.place}, {seen[cell.place]} and '
          f'{cell.digest}: keep one'
        )
      seen[cell.place] = cell.digest

  def _check_lookups(self):
    pairs = {option: tuple(pair) for option, pair in self.lookups.items()}
    object.__setattr__(self, 'lookups', pairs)
    for option, pair in pairs.items():
      if len(pair) != 2 or not all(
        isinstance(n, int | float) and 0 <= n < math.inf for n in pair
      ):
        raise component.UserError(
          f'lookups of Study must be two numbers from 0 on, got {pair} for '
          f'{option!r}: give those at the trained length and at the target'
        )

  @property
  def regimes(self) -> tuple[str, ...]:
    """Return the regimes in the order of the cells."""
    return tuple(dict.fromkeys(cell.regime for cell in self.cells))

  def groups(self) -> list[Group]:
    """Return regime, variant and schedule of every verdict, in a fixed order.

    In a regression there is one for each deployed cell; in a choice one for
    each regime, whose candidates count as adapted where they were.
    """
    if self.kind == 'choice':
      return [(regime, '', '') for regime in self.regimes]
    groups = [
      (cell.regime, cell.variant, cell.schedule)
      for cell in self.cells
      if cell.option == DEPLOYED
    ]
    regimes = self.regimes
    return sorted(
      groups,
      key=lambda g: (regimes.index(g[0]), g[1], SCHEDULES.index(g[2])),
    )

  @property
  def base(self) -> str:
    """Return what options are to gain on: the deployed model, or the root."""
    return ROOT if self.kind == 'choice' else DEPLOYED

  def members(
    self, group: Group, missing: Collection[Cell] = ()
  ) -> dict[str, Cell]:
    """Return the cells of a case by option; 'root' is the trained one.

    Args:
      group: the case.
      missing: cells that are left out.
    """
    regime, variant, schedule = group
    cells: dict[str, Cell] = {}
    for cell in self.cells:
      if cell.regime != regime or cell in missing:
        continue
      if cell.option == ROOT:
        if cell.schedule == 'trained':
          cells[ROOT] = cell
      elif self.kind == 'regression':
        of_option = '' if cell.option == SCALED else variant
        if (cell.variant, cell.schedule) == (of_option, schedule):
          cells[cell.option] = cell
      elif cell.schedule == 'adapted' or cell.option not in cells:
        cells[cell.option] = cell
    return cells

  def options(
    self, group: Group, missing: Collection[Cell] = ()
  ) -> tuple[str, ...]:
    """Return what competes in a case: the fixes, or the candidates."""
    members = self.members(group, missing)
    known = members if self.kind == 'choice' else FIXES
    return tuple(o for o in known if o in members and o != self.base)

  def shown(self, option: str) -> str:
    """Return an option as one reads it: with what a regression's fixes keep."""
    return SHOWN.get(option, option) if self.kind == 'regression' else option

  def to_dict(self) -> dict[str, Any]:
    """Return plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(self)))


def write(workdir: str | os.PathLike, study: Study) -> pathlib.Path:
  """Write WORKDIR/study.json; the same study again may change its words.

  Raises:
    UserError: if another study is there: a work directory holds one.
  """
  path = pathlib.Path(workdir) / NAME
  if path.exists():
    written = read(workdir)
    if written == study:
      return path
    # Words may be better ones: no run depends on them.
    words = {name: getattr(written, name) for name in WORDS}
    if dataclasses.replace(study, **words) != written:
      same = (written.kind, written.size) == (study.kind, study.size)
      what = ', of other runs' if same else ''
      raise component.UserError(
        f'{path} is of a {written.kind} study of size {written.size!r}, and '
        f'this is a {study.kind} study of size {study.size!r}{what}: give '
        'another work directory with --workdir'
      )
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps({'format': FORMAT, **study.to_dict()}, indent=1)
  files.put(path, text.encode(), over=True)
  return path


def read(workdir: str | os.PathLike) -> Study:
  """Return the study of a work directory.

  Raises:
    UserError: if there is none, or it cannot be read.
  """
  path = pathlib.Path(workdir) / NAME
  if not path.exists():
    raise component.UserError(
      f'no {NAME} in {workdir}: `posexp run {FILES["regression"]}` and '
      f'`posexp run {FILES["choice"]}` write one'
    )
  try:
    body = json.loads(path.read_text('utf-8'))
    form = body.pop('format')
    if form != FORMAT:
      raise component.UserError(
        f'it has format {form}, and this version {FORMAT}'
      )
    cells = [Cell(**cell) for cell in body.pop('cells')]
    return Study(cells=tuple(cells), **body)
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise component.UserError(
      f'{path} cannot be read ({type(error).__name__}: {error}): move it away '
      'and run the experiment file again'
    ) from None


def _require_words(owner: Any, *names: str) -> None:
  for name in names:
    if not getattr(owner, name):
      kind = type(owner).__name__
      raise component.UserError(
        f"{name} of {kind} must be text, got '': write some words"
      )

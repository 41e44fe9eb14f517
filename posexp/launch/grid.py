"""Experiment files: loading them, changing fields, ordering their runs."""

import ast
import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import sys
import traceback
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from posexp import component
from posexp.cost import flop_count
from posexp.evaluation import evaluate
from posexp.models import environment, mesh
from posexp.reports import text_table
from posexp.results import progress, records
from posexp.runs import config

# What a run that is tuned does not take from its configuration.
RATE = 'train.learning_rate'
# Of the table that `estimate` gives.
TITLES = 'run', 'parameters', 'positional', 'tokens', 'seeds', 'TFLOP', 'about'


class Experiment(typing.NamedTuple):
  """An experiment file, imported.

  Attributes:
    module: the file as a module; it may define `figure(results, directory)`.
    runs: what its `grid()` yields, parents before their retrofits.
    planned: what its `study(size)` gives, where it has that instead.
  """

  module: types.ModuleType
  runs: tuple[config.Run, ...]
  planned: Any = None


def load(path: str | os.PathLike, size: str | None = None) -> Experiment:
  """Import an experiment file and plan the runs of its `grid()`.

  Or of its `study(size)`, the size being one of its `SIZES`, the first unless
  given. Any other exception of the file's own code is left as it is.

  Raises:
    UserError: for what the file asks of posexp that cannot be, with its line; a
      syntax error; no such file (naming the nearest); no `grid`, or something
      else than runs in it.
  """
  with errors_of(path):
    return _load(pathlib.Path(path), size)


@contextlib.contextmanager
def errors_of(path: str | os.PathLike) -> Iterator[None]:
  """Tell with its line what an experiment file does that cannot be.

  Raises:
    UserError: for a syntax error, an end of the command, or any `UserError`.
  """
  try:
    yield
  except SyntaxError as error:
    where = pathlib.Path(error.filename or '')
    if not where.is_file():  # Of some text that the file compiles itself.
      raise
    here = where == pathlib.Path(path).resolve()
    raise component.UserError(
      f'{path if here else where}:{error.lineno}: {error.msg}'
    ) from error
  except SystemExit as error:
    raise component.UserError(
      f'{_where(error, path)}: the file ends the command with sys.exit('
      f'{"" if error.code is None else repr(error.code)}) while it is loaded: '
      'let it define grid(), and put what else it does under '
      "`if __name__ == '__main__'`"
    ) from error
  except component.UserError as error:
    line = _where(error, path)
    if line == str(path):
      raise
    raise component.UserError(f'{line}: {error}') from error


def _where(error: BaseException, path: str | os.PathLike) -> str:
  """Return the path with the last line of the file that an error came by."""
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if pathlib.Path(frame.filename) == pathlib.Path(path).resolve()
  ]
  return f'{path}:{lines[-1]}' if lines else str(path)


def _load(path: pathlib.Path, size: str | None) -> Experiment:
  module = _import(path)
  if callable(getattr(module, 'study', None)):
    sizes = tuple(getattr(module, 'SIZES', ()))
    if not sizes:
      raise component.UserError(
        f"{path} has a study(size) and no SIZES: add SIZES = ('small', 'full')"
      )
    size = sizes[0] if size is None else size
    component.one_of(f'--size of {path}', size, sizes)
    planned = module.study(size)
    if not hasattr(planned, 'runs'):
      raise component.UserError(
        f'study(size) of {path} must return a planned study, got {planned!r}: '
        'is there a return?'
      )
    return Experiment(module, plan(planned.runs), planned)
  if size is not None:
    raise component.UserError(
      f'--size={size} is for a study, and {path} has no study(size): leave it '
      'out'
    )
  if not callable(getattr(module, 'grid', None)):
    raise component.UserError(
      f'{path} has no function grid(): define one that yields posexp.Run(...)'
    )
  made = module.grid()
  if not isinstance(made, Iterable):
    raise component.UserError(
      f'grid() of {path} must yield posexp.Run objects, or return a list of '
      f'them, got {made!r}'
    )
  runs = list(made)
  for run in runs:
    if not isinstance(run, config.Run):
      raise component.UserError(
        f'grid() of {path} must yield posexp.Run objects, got {run!r}'
      )
  if not runs:
    raise component.UserError(
      f'grid() of {path} yields no runs: give at least one'
    )
  return Experiment(module, plan(runs))


def _import(path: pathlib.Path) -> types.ModuleType:
  if not path.is_file():
    folder = path.parent
    files = [str(p) for p in folder.glob('*.py')] if folder.is_dir() else []
    raise component.UserError(
      f'no experiment file {str(path)!r}'
      f'{component.nearest(str(path), files)}: give the path of a Python '
      'file with a grid()'
    )
  # The stem is the module's name, so that the classes a user defines in the
  # file have one name on every machine; it must not hide another module.
  name = path.stem
  known = sys.modules.get(name)
  if known and getattr(known, '__file__', None) != str(path.resolve()):
    name = f'{name}_experiment'
  spec = importlib.util.spec_from_file_location(name, path.resolve())
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  sys.modules[name] = module
  sys.path.insert(0, str(path.parent.resolve()))
  try:
    # From the source, as what Python keeps of a file it takes for one that was
    # edited in the same second and has the same size, too.
    source = path.resolve()
    code = spec.loader.source_to_code(source.read_bytes(), str(source))  # type: ignore[attr-defined]
    exec(code, vars(module))
  finally:
    sys.path.pop(0)
  return module


def plan(runs: Iterable[config.Run]) -> tuple[config.Run, ...]:
  """Return the runs, each once, after all their parents and trials."""
  ordered: dict[config.Run, None] = {}
  for run in runs:
    ancestry = [run]
    while ancestry[-1].parent is not None:
      ancestry.append(ancestry[-1].parent)
    ordered |= dict.fromkeys([*ancestry[-1].trials, *reversed(ancestry)])
  return tuple(ordered)


def select(runs: Iterable[config.Run], pattern: str) -> tuple[config.Run, ...]:
  """Return the runs whose name contains the text, or matches it as a glob.

  Raises:
    UserError: if none does; the sentence lists the names.
  """
  runs = tuple(run for run in runs if not run.trial)
  chosen = [run for run in runs if component.matches(run.name, pattern)]
  if not chosen:
    raise no_match(pattern, (run.name for run in runs))
  return plan(chosen)


def no_match(pattern: str, names: Iterable[str]) -> component.UserError:
  """Return what is raised where nothing matches."""
  there = '; '.join(dict.fromkeys(names))
  return component.UserError(
    f'--only={pattern!r} matches no run (runs: {there})'
  )


def change(
  runs: Iterable[config.Run], assignments: Iterable[str]
) -> tuple[config.Run, ...]:
  """Return the runs with fields changed, e.g. 'train.learning_rate=3e-4'.

  The same change is made in every run and its parents, so that a grid stays
  a controlled comparison; the steps of a retrofit stay what they are. The
  learning rate is changed where it is not chosen by trials, and the fields of
  `tuning` where it is.

  Raises:
    UserError: for an unknown field (naming the nearest), or a
      value of another type than the field's.
  """
  settings: dict[str, str] = {}
  for assignment in assignments:
    path, equals, text = assignment.partition('=')
    if not equals:
      raise component.UserError(
        f'--set={assignment!r} must be FIELD=VALUE, e.g. train.steps=500'
      )
    settings[path.strip()] = text.strip()
  # Trials are made anew, from the changed runs.
  runs = [run for run in plan(runs) if not run.trial]
  for path in settings:
    if not any(_concerns(run, path, settings) for run in runs):
      raise component.UserError(
        f'--set={path} concerns no run of the grid: '
        + (
          'the rate of each is chosen among others, so set tuning.rates, or '
          'tuning=None'
          if path == RATE
          else 'none is tuned, so let grid() yield posexp.tuned(run, rates=...)'
        )
      )
  return plan(_changed(run, settings) for run in runs)


def _changed(run: config.Run, settings: dict[str, str]) -> config.Run:
  """Return the run with all fields set at once, as one may need another."""
  parent = run.parent and _changed(run.parent, settings)
  paths = {
    tuple(path.split('.')): text
    for path, text in settings.items()
    if _concerns(run, path, settings)
  }
  return dataclasses.replace(run, parent=parent, **_fields(run, paths, ''))


def _concerns(run: config.Run, path: str, settings: dict[str, str]) -> bool:
  """Return whether a run has the field, of all settings, that a path names."""
  if path == 'train.steps':
    return run.parent is None
  if path.split('.')[0] == 'tuning':
    return run.tuning is not None
  if path != RATE:
    return True
  if run.parent is None:
    return run.tuning is None or settings.get('tuning') == 'None'
  return run.train.steps > 0 or _concerns(run.parent, path, settings)


def _fields(
  owner: Any, settings: dict[tuple[str, ...], str], above: str
) -> dict[str, Any]:
  """Return the fields to replace in `owner`, rebuilt from the inside out.

  Args:
    owner: a component.
    settings: from the path of a field within it to the text of its value.
    above: the path of the owner itself.
  """
  fields_of = dataclasses.fields(owner)
  known = [f.name for f in fields_of if f.name not in ('parent', 'trial')]
  inner: dict[str, dict[tuple[str, ...], str]] = {}
  fields: dict[str, Any] = {}
  for (name, *rest), text in settings.items():
    path = '.'.join([*above.split(), name, *rest])
    if name not in known:
      raise component.UserError(
        f'--set: {type(owner).__name__} has no field {name!r} to set (in '
        f'{path}){component.nearest(name, known)}'
      )
    if rest and not dataclasses.is_dataclass(getattr(owner, name)):
      raise component.UserError(
        f'--set: {name!r} in {path} is a plain value with no field '
        f'{rest[0]!r}: set {name} itself'
      )
    if rest:
      inner.setdefault(name, {})[tuple(rest)] = text
    else:
      hint = typing.get_type_hints(type(owner))[name]
      fields[name] = _parse(text, hint, path)
  for name, of_part in inner.items():
    part = fields.get(name, getattr(owner, name))
    changed = _fields(part, of_part, f'{above} {name}')
    fields[name] = dataclasses.replace(part, **changed)
  return fields


def _parse(text: str, hint: Any, path: str) -> Any:
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError):
    value = text
  if typing.get_origin(hint) is tuple and not isinstance(value, tuple | list):
    value = (value,)
  return component.as_kind(f'--set: {path}', value, hint)


def check(
  runs: Iterable[config.Run], workdir: pathlib.Path, workers: int = 1
) -> None:
  """Check, before any compute, that every missing run has enough memory.

  Args:
    runs: parents before their retrofits.
    workdir: where records go.
    workers: processes that share this machine's memory.

  Raises:
    UserError: for the first that has not; it names the run.
  """
  for run in runs:
    if records.finished(workdir, run.digest):
      continue
    devices = mesh.mesh(len(run.seeds), run.train.batch)
    try:
      evaluate.Evaluator(run, devices).check(workers)
    except component.UserError as error:
      raise component.UserError(f'{run.name}: {error}') from None


@environment.fixed()
def estimate(runs: Iterable[config.Run]) -> str:
  """Return the runs, their sizes and about how long they take, as a table."""
  rate = flop_count.TYPICAL_SHARE * flop_count.matmul_rate(1024)
  rows, runs = [TITLES], tuple(runs)
  trials = sum(run.trial for run in runs)
  total = 0.0
  for run in runs:
    sizes, flops = flop_count.parameters(run), flop_count.run_flops(run)
    lengths = dict.fromkeys((run.lengths[0], run.lengths[-1]))
    total += flops
    rows.append(
      (
        run.name,
        f'{sizes["total"]:,}',
        f'{sizes["positional"]:,}',
        '-'.join(map(str, lengths)),
        ','.join(map(str, run.seeds)),
        f'{flops / 1e12:.2f}',
        progress.duration(flops / rate),
      )
    )
  some = f'{trials} of them trials of a learning rate, ' if trials else ''
  return (
    f'{text_table.columns(rows)}\n\n{len(runs)} runs, {some}'
    f'{total / 1e12:.1f} TFLOP, about '
    f'{progress.duration(total / rate)} on this machine, at '
    f'{flop_count.TYPICAL_SHARE:.0%} of its matmul rate of '
    f'{rate / flop_count.TYPICAL_SHARE / 1e9:.0f} GFLOP/s measured just now '
    '(compilation not counted). Nothing was computed.'
  )

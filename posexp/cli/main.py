"""The command line: `posexp COMMAND`."""

import os
import pathlib
import signal
import sys
from collections.abc import Callable, Sequence

from absl import flags

from posexp import component
from posexp.cli import inspect
from posexp.cli import results as results_lib
from posexp.cli.flags import FLAGS, GIVEN, HELP, exactly, numbers, writable
from posexp.launch import signals
from posexp.launch.exit_codes import BAD_INPUT, FAILED, INTERRUPTED

# With these a grid was gone through, and there is something to show.
ENDED = 0, FAILED
# Whoever launches on a cluster need not have what it computes with.
ELSEWHERE = (
  'posexp: latency was not timed, as this machine only launches: the same '
  'command without --executor, where the answers are to be served, times it '
  'and writes the memo anew'
)


def entry_point() -> None:
  """What the `posexp` command calls."""
  sys.exit(main(sys.argv))


def main(argv: Sequence[str]) -> int:
  """Runs a command; returns the exit code.

  >>> main(['posexp', 'shwo'])  # The sentence goes to stderr.
  2
  """
  FLAGS.unparse_flags()
  for name in FLAGS:
    FLAGS[name].unparse()
  GIVEN[:] = argv[1:]
  if signals.LAUNCHER in os.environ:  # Ctrl-C is for the launcher alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By which SLURM tells all of a job that its time is up.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
  try:
    words = FLAGS(list(argv))[1:]
    if FLAGS.help or not words or words[0] == 'help':
      print(HELP)
      return 0
    if FLAGS.data_dir:  # Where the processes of a run look, too.
      os.environ['POSEXP_DATA'] = FLAGS.data_dir
    command, *rest = words
    if command not in COMMANDS:
      raise component.UserError(
        f'no command {command!r}{component.nearest(command, COMMANDS)}: '
        '`posexp --help` lists them'
      )
    return COMMANDS[command](rest)
  except (ValueError, flags.Error) as error:
    print(f'posexp: {error}', file=sys.stderr)
    return BAD_INPUT
  except KeyboardInterrupt:
    print('posexp: interrupted', file=sys.stderr)
    return INTERRUPTED
  except BrokenPipeError:  # `posexp schemes | head`
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run(words: list[str]) -> int:
  """Trains, retrofits and evaluates the grid of an experiment file."""
  from posexp.launch import grid

  (file,) = exactly(words, ['FILE'], 'run')
  _take_cores()
  experiment = grid.read(file, FLAGS.size)
  runs = experiment.runs
  if experiment.planned is not None:
    return _study(experiment.planned, file)
  changes = list(FLAGS.set)
  if FLAGS.seeds is not None:
    changes.append(f'seeds={numbers("seeds", "0,1,2")}')
  runs = grid.change(runs, changes)
  if FLAGS.only:
    runs = grid.select(runs, FLAGS.only)
  workdir = pathlib.Path(FLAGS.workdir or f'runs/{pathlib.Path(file).stem}')
  code = _execute(runs, workdir, before=lambda: _outlook(runs, workdir))
  if code in ENDED and not FLAGS.dry_run:
    _present(experiment.module, runs, workdir)
  return code


def _outlook(runs, workdir: pathlib.Path) -> None:
  """Says what so many seeds can show, while more can still be asked for."""
  from posexp.claims import contrasts
  from posexp.launch import agreement
  from posexp.results import records

  missing = [r for r in runs if not records.finished(workdir, r.digest)]
  if missing and agreement.first():
    print(contrasts.planned(runs), file=sys.stderr)


def _study(planned, file: str) -> int:
  """Carries out the study of an experiment file, to its memo."""
  from posexp.launch import agreement, grid, study_runs

  for flag in ('set', 'seeds'):
    if FLAGS[flag].value:
      raise component.UserError(
        f'--{flag} would make another study of this one: change {file}, or '
        f'choose one of its sizes with --size'
      )
  name = f'{pathlib.Path(file).stem}-{planned.study.size}'
  workdir = pathlib.Path(FLAGS.workdir or f'runs/{name}')
  runs = planned.runs
  if FLAGS.only:
    runs = grid.select(runs, FLAGS.only)
  if not FLAGS.dry_run:

    def begin() -> None:
      writable(workdir)
      study_runs.begin(planned, workdir)

    agreement.same(begin, 'the study')
  code = _execute(grid.plan(runs), workdir)
  if FLAGS.dry_run:
    print(study_runs.outlook(planned))
  elif code in ENDED:
    try:
      if _hands().local:
        study_runs.measure_latency(planned, workdir)
    except KeyboardInterrupt:
      return INTERRUPTED
    _memo(workdir)
    if not _hands().local:
      print(ELSEWHERE, file=sys.stderr)
  return code


def write_memo(words: list[str]) -> int:
  """Writes the memo of a study from its records, and prints the answer."""
  (workdir,) = exactly(words, ['WORKDIR'], 'memo')
  _memo(workdir)
  return 0


def _memo(workdir: str | os.PathLike) -> None:
  from posexp.inspect import mechanisms
  from posexp.reports import memo
  from posexp.studies import verdict

  found = memo.load(workdir)
  cases = verdict.verdicts(found)
  print(memo.answer(found, cases))
  for path in memo.publish(found, workdir, mechanisms.blocks(found), cases):
    print(f'{path.suffix[1:]}: {path}')


def evaluate(words: list[str]) -> int:
  """Evaluates the finished runs of a work directory at other lengths."""
  from posexp.launch import grid, reevaluate

  _take_cores()
  if len(words) != 2:
    exactly(words, ['WORKDIR'], 'evaluate')
  workdir = pathlib.Path(words[0])
  for file in words[1:]:  # For the classes that it defines.
    grid.read(file)
  if not FLAGS.lengths:
    raise component.UserError(
      '`posexp evaluate` needs lengths in tokens: give --lengths=8192,32768, '
      'for example'
    )
  runs = reevaluate.plan(
    workdir,
    numbers('lengths', '8192,32768'),
    examples=FLAGS.examples,
    window=FLAGS.window,
    only=FLAGS.only,
    seeds=FLAGS.seeds and numbers('seeds', '0,1,2'),
  )
  code = _execute(runs, workdir)
  if code in ENDED and not FLAGS.dry_run:
    _present(None, grid.plan(runs), workdir)
  return code


def _take_cores() -> None:
  """Before an experiment file can make JAX look for its devices."""
  from posexp.launch import launcher

  launcher.take_cores(_hands())


def _hands():
  """Who computes, as the flags say."""
  from posexp.launch import launcher

  return launcher.ExecutorConfig(
    workers=FLAGS.workers,
    executor=FLAGS.executor,
    address=FLAGS.address,
    slurm=tuple(FLAGS.slurm),
    pack=FLAGS.pack,
    coordinator=FLAGS.coordinator,
    processes=FLAGS.processes,
    process=FLAGS.process,
    track=tuple(FLAGS.track),
    retries=FLAGS.retries,
    argv=tuple(GIVEN),
  )


def _execute(
  runs, workdir: pathlib.Path, before: Callable[[], None] = lambda: None
) -> int:
  """Computes what is missing of the runs, or says what it would take.

  Args:
    runs: of one grid.
    workdir: where their records go.
    before: called when nothing speaks against them.
  """
  from posexp.launch import agreement, grid, launcher

  launcher.check(runs, workdir, _hands())
  if not FLAGS.dry_run:
    agreement.same(lambda: writable(workdir), 'the work directory')
  before()
  if FLAGS.dry_run:
    if agreement.first():
      print(grid.estimate(runs))
    return 0
  return launcher.execute(runs, workdir, _hands())


def bench(words: list[str]) -> int:
  """Prints the speed of a training step of each scheme."""
  from posexp.cost import bench as bench_lib

  exactly(words, [], 'bench')
  print(bench_lib.table())
  return 0


def measure_costs(words: list[str]) -> int:
  """Measures what schemes cost, side by side; prints and draws it."""
  from posexp import schemes
  from posexp.cost import measure
  from posexp.plots import costs
  from posexp.reports import cost_text
  from posexp.results import cost_records

  question = measure.Question(
    compared=tuple(map(schemes.parse, words)) or measure.SCHEMES,
    baseline=schemes.parse(FLAGS.baseline),
    lengths=numbers('lengths', '2048,8192') or measure.Question.lengths,
    quantities=tuple(FLAGS.what),
    layers=FLAGS.layers,
    heads=FLAGS.heads,
    head_width=FLAGS.head_width,
    rounds=FLAGS.rounds,
    minutes=FLAGS.minutes,
    resident=FLAGS.resident,
  )
  workdir = pathlib.Path(FLAGS.workdir or 'runs/measure')
  writable(workdir)
  body = measure.answer(question, workdir / 'log.txt')
  path = cost_records.write(workdir, body)
  body = cost_records.read(path)
  print(cost_text.text(body))
  if body['groups']:
    for drawn in costs.overview(cost_records.table(body), workdir):
      print(f'figure: {drawn}')
  print(f'record: {path}')
  return INTERRUPTED if body['interrupted'] else 0


def data(words: list[str]) -> int:
  """Builds, verifies or lists frozen evaluation sets."""
  from posexp import data as data_lib
  from posexp.cli import data_sets
  from posexp.data import published, store
  from posexp.launch import grid
  from posexp.results import progress

  action, *files = words or ['']
  component.one_of(
    'the word after `posexp data`', action, (*data_sets.ACTIONS, 'list')
  )
  asked = [
    data_lib.Set(one.task, length)
    for file in files
    for one in grid.read(file).runs
    for length in one.lengths
  ]
  sets = tuple(dict.fromkeys(asked)) or published.sets()
  store.check(store.directory())
  if action == 'list':
    print(data_sets.table(sets, store.directory()))
    return 0
  with progress.Progress(len(sets), pathlib.Path(os.devnull)) as tell:
    try:
      text, failures = data_sets.ACTIONS[action](sets, store.directory(), tell)
    except KeyboardInterrupt:
      tell.note('interrupted: the same command goes on with what is missing')
      return INTERRUPTED
  print(text)
  return FAILED if failures else 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
  'run': run,
  'evaluate': evaluate,
  'show': results_lib.show,
  'compare': results_lib.compare,
  'export': results_lib.export,
  'report': results_lib.report,
  'figures': results_lib.figures,
  'status': results_lib.status,
  'memo': write_memo,
  'bench': bench,
  'measure': measure_costs,
  'explain': inspect.explain,
  'coverage': inspect.coverage,
  'schemes': inspect.list_schemes,
  'tasks': inspect.list_tasks,
  'data': data,
}


def _present(module, runs, workdir: pathlib.Path) -> None:
  """The table, and the figures of the experiment file if it draws some."""
  from posexp.reports import tables
  from posexp.results import records

  results = records.load(workdir, [r.digest for r in runs])
  print(tables.text(results))
  if callable(getattr(module, 'figure', None)) and len(results):
    for path in module.figure(results, workdir) or ():
      print(f'figure: {path}')
  print(f'records: {workdir}/runs  (posexp show {workdir})')

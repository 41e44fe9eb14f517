"""What the command line says of itself, its flags, and how they are read."""

import os
import pathlib
import stat
import sys
from collections.abc import Iterator

from absl import flags

from posexp import component

HELP = """posexp: controlled experiments on position in transformers.

  posexp run FILE        train, retrofit and evaluate what is missing of a grid
  posexp evaluate WORKDIR --lengths=8192,32768 [FILE]
                         the finished runs of a work directory again, at other
                         lengths, from their saved weights
  posexp show WORKDIR    the results under a work directory, as a table
  posexp status WORKDIR  which runs are done, running and where, failed and why,
                         and what remains; with --follow until all is done
  posexp memo WORKDIR    the decision that the study in a work directory comes
                         to, by written rules: an answer, and a memo with all
                         numbers, as Markdown and as HTML
  posexp report WORKDIR  the results on one page, with figures, tables, and what
                         can be claimed: WORKDIR/report.html (or --output=FILE)
  posexp figures WORKDIR figures for a paper, PNG and PDF, and their numbers as
                         LaTeX tables: WORKDIR/figures (or --output=DIR)
  posexp export WORKDIR --to=csv|parquet|tensorboard|wandb
                         the results and settings of all runs for other tools,
                         into --output=DIR (default: the work directory)
  posexp compare WORKDIR which runs differ, by paired tests over seeds
  posexp bench           tokens per second of a training step, scheme by scheme
  posexp measure [SCHEME...]
                         time and memory of schemes side by side: a training
                         step, prefill, decoding; what grows with the context
  posexp explain SCHEME  what a method does to periods, scores and order, in
                         tables and a figure, before any training
  posexp coverage SCHEME|WORKDIR
                         what lengths ask for that training never did, of a
                         scheme, or as measured in finished runs
  posexp schemes         the positional schemes, and what each one does
  posexp schemes NAME    the formula, use and known failure of one
  posexp tasks           the tasks, and what each one isolates
  posexp tasks NAME      the layout, balance, foils and strata of one
  posexp data build|verify|list [FILE...]
                         the frozen evaluation sets: all that are published, or
                         those of the grids of files

Flags of run:
  --workdir=DIR     where records go (default: runs/<name of FILE>)
  --only=TEXT       only runs whose name contains TEXT or matches it as a glob
  --set=FIELD=VALUE change a field in every run, e.g. --set=train.steps=500
                    (may be given several times)
  --seeds=0,1,2     other seeds than the file's, for every run
  --workers=2       processes that share the runs (of a CPU; default: 1); any
                    number of commands may share a --workdir
  --executor=ray    a Ray task a run, on the cluster of --address=HOST:PORT, or
                    of this machine; --workers at once on a node of CPUs
  --executor=slurm  --workers jobs as an array, requeued when preempted; what
                    each asks for by --slurm=timeout_min=60 and the like, in
                    the names of submitit (may be given several times)
  --pack=4          runs that one program trains at once, of those that differ
                    in nothing but seeds, learning rate and weight decay
                    (default: on a CPU what leaves no core idle, with the same
                    bits, on an accelerator 1; 0: what its memory holds)
  --coordinator=HOST:PORT --processes=4 --process=0
                    one run over several hosts: the same command on each, with
                    the number of its process; HOST is that of process 0, and
                    --workdir is shared. --coordinator=auto where the cluster
                    says all three (TPU, SLURM)
  --retries=1       how often a run that failed is tried again
  --track=wandb     trackers that are told of a run when it finishes: wandb,
                    tensorboard or both, as `posexp export` would tell them
  --dry_run         print the runs, their sizes and an estimate; compute nothing
  --size=small      of a study: `small` for two cores, `full` for accelerators

  --data_dir=DIR    the frozen evaluation sets (default: $POSEXP_DATA, or
                    ~/.cache/posexp/data); also of data

Flags of evaluate, beside --only, --seeds and --dry_run, which choose runs:
  --lengths=8192,32768  tokens in the evaluated sequences
  --examples=8          sequences at each length (default: as many as a run had)
  --window=N            tokens that the model sees at once, as a sliding window
  FILE is the runs' experiment file, if it defines schemes or tasks of its own.

Flags of explain and coverage:
  --train_length=64 --target=256   tokens; the target is 4 times the trained
                                   length unless given
  --heads=4 --head_width=16        the sizes of attention
  --trained=SCHEME                 coverage: what was trained, if another
  --output=DIR                     explain: where figures go (runs/explain)

Flags of measure, with --heads, --head_width and --workdir (runs/measure):
  --lengths=2048,8192,32768        tokens of a step, of a prompt, in the cache
  --baseline='RoPE()' --layers=2   what ratios are to; the model
  --what=train,prefill,decode      all three unless given
  --rounds=15 --minutes=6          how often each is timed, and how long all may
                                   take: what would take longer is left out
  --resident                       also the memory that is really held, each
                                   program in a process of its own

A run that is finished is never computed again; one that was interrupted goes
on from its last checkpoint when the same command is given again. SIGINT and
SIGTERM (Ctrl-C, a batch system) save what is under way first.

Exit codes: 0 done, 1 some run failed, 2 bad input, 3 the disk is full,
130 and 143 stopped by SIGINT and by SIGTERM.

  posexp run experiments/quickstart.py --dry_run
  posexp explain 'RoPE(NTK(4)) + ALiBi()' --train_length=64 --target=256
  posexp measure 'T5()' 'RoPE() + ALiBi()' --lengths=1024,4096
  posexp run my_file.py --only=ALiBi --set=train.steps=200 --seeds=0,1
"""

# What the command was given, for workers that repeat it.
GIVEN: list[str] = []
FLAGS = flags.FlagValues()
FLAGS.set_gnu_getopt(True)
flags.DEFINE_string('workdir', None, 'where records go', flag_values=FLAGS)
flags.DEFINE_string('only', None, 'which runs', flag_values=FLAGS)
flags.DEFINE_multi_string('set', [], 'FIELD=VALUE', flag_values=FLAGS)
flags.DEFINE_string('size', None, 'of a study', flag_values=FLAGS)
flags.DEFINE_list('seeds', None, 'other seeds', flag_values=FLAGS)
flags.DEFINE_list('lengths', None, 'in tokens', flag_values=FLAGS)
flags.DEFINE_integer('examples', None, 'how many', flag_values=FLAGS)
flags.DEFINE_integer('window', None, 'in tokens', flag_values=FLAGS)
flags.DEFINE_integer('workers', 1, 'processes', flag_values=FLAGS)
flags.DEFINE_string('executor', 'local', 'who computes', flag_values=FLAGS)
flags.DEFINE_string('address', None, 'of a Ray cluster', flag_values=FLAGS)
flags.DEFINE_multi_string('slurm', [], 'NAME=VALUE', flag_values=FLAGS)
flags.DEFINE_integer('pack', None, 'at once', lower_bound=0, flag_values=FLAGS)
flags.DEFINE_string('coordinator', None, 'host:port', flag_values=FLAGS)
flags.DEFINE_integer('processes', None, 'of a run', flag_values=FLAGS)
flags.DEFINE_integer('process', None, 'which', flag_values=FLAGS)
flags.DEFINE_integer('retries', 1, 'of a run', lower_bound=0, flag_values=FLAGS)
flags.DEFINE_list('track', [], 'trackers', flag_values=FLAGS)
flags.DEFINE_string('to', None, 'a format', flag_values=FLAGS)
flags.DEFINE_bool('follow', False, 'live', flag_values=FLAGS)
flags.DEFINE_bool('dry_run', False, 'compute nothing', flag_values=FLAGS)
flags.DEFINE_string('data_dir', None, 'frozen sets', flag_values=FLAGS)
flags.DEFINE_integer('train_length', 64, 'in tokens', flag_values=FLAGS)
flags.DEFINE_integer('target', None, 'in tokens', flag_values=FLAGS)
flags.DEFINE_integer('heads', 4, 'how many', flag_values=FLAGS)
flags.DEFINE_integer('head_width', 16, 'their size', flag_values=FLAGS)
flags.DEFINE_string('trained', None, 'a scheme', flag_values=FLAGS)
flags.DEFINE_string('output', None, 'where to', flag_values=FLAGS)
flags.DEFINE_string('baseline', 'RoPE()', 'a scheme', flag_values=FLAGS)
flags.DEFINE_list(
  'what', 'train,prefill,decode', 'is measured', flag_values=FLAGS
)
flags.DEFINE_integer('layers', 2, 'how many', flag_values=FLAGS)
flags.DEFINE_integer('rounds', 15, 'of timings', flag_values=FLAGS)
flags.DEFINE_float('minutes', 6.0, 'at most', flag_values=FLAGS)
flags.DEFINE_bool('resident', False, 'memory, too', flag_values=FLAGS)
flags.DEFINE_bool('help', False, 'this text', short_name='h', flag_values=FLAGS)


def writable(workdir: pathlib.Path, flag: str = '--workdir') -> None:
  """Makes a directory, or says that it cannot be written to."""
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    probe = workdir / f'.probe.{os.getpid()}'
    probe.touch()
    probe.unlink(missing_ok=True)
  except OSError as error:
    raise component.UserError(
      f'cannot write to the work directory {workdir} ({error.strerror}): give '
      f'another with {flag}'
    ) from None
  for why in _unsafe(workdir):
    print(f'posexp: note: {workdir} {why}', file=sys.stderr)


def _unsafe(workdir: pathlib.Path) -> Iterator[str]:
  """Why others than the user could change what is in a directory."""
  found = workdir.stat()
  if found.st_mode & stat.S_IWOTH:
    yield (
      'may be written to by everyone, and what is read from it is trusted: '
      f'`chmod o-w {workdir}` unless that is meant'
    )
  if found.st_uid != os.getuid():
    yield (
      'belongs to another user, and what is read from it is trusted: give a '
      '--workdir of your own unless that is meant'
    )


def numbers(flag: str, such_as: str) -> tuple[int, ...]:
  """The whole numbers of a flag that is a list."""
  given = FLAGS[flag].value or []
  try:
    return tuple(int(number) for number in given)
  except ValueError:
    raise component.UserError(
      f'--{flag} must be whole numbers such as {such_as}, got '
      f'{",".join(given)!r}'
    ) from None


def exactly(words: list[str], names: list[str], command: str) -> list[str]:
  """The words of a command, or a sentence that says which it takes."""
  if len(words) != len(names):
    raise component.UserError(
      f'`posexp {command}` takes {" ".join(names) or "no argument"}, got '
      f'{len(words)} arguments: {" ".join(words) or "none"}'
    )
  return words

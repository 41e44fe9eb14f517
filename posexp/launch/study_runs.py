"""Studies: a plan of runs with what each stands for, carried out to a memo."""

import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.attention import placed
from posexp.claims import format as format_lib
from posexp.cost import flop_count, measure
from posexp.launch import grid, study_sizes
from posexp.launch.study_sizes import Size
from posexp.models import memory
from posexp.results import cost_records, progress
from posexp.runs import config
from posexp.studies import families, plan

# How often each program is timed, if the minutes allow: the interval of a ratio
# must fit below `criteria.SLOWER`.
ROUNDS = 101
# FLOP/s of an accelerator, for the cost that `--dry_run` prints.
RATE = 1e14


# A run and what it stands for in a study.
Part = tuple[config.Run, plan.Cell]


def retrofits(
  root: config.Run,
  size: Size,
  regime: str,
  option: str,
  scheme: schemes.Scheme,
  variant: str = '',
  inert: schemes.Scheme | None = None,
) -> Iterator[Part]:
  """Yield a retrofit zero-shot and adapted; for the root's scheme the root.

  `inert` is the scheme without what is learned and starts at 0: zero-shot it
  gives the same answers, so that its run stands for both.
  """

  def part(run: config.Run, schedule: str, option: str = option) -> Part:
    return run, plan.Cell(
      digest=run.digest,
      regime=regime,
      option=option,
      schedule=schedule,
      variant=variant,
    )

  at_first = scheme if inert is None else inert
  if scheme == root.scheme:
    yield part(root, 'trained', plan.ROOT)
  elif at_first == root.scheme:
    yield part(root, 'zero-shot')
  else:
    yield part(root.retrofit(at_first), 'zero-shot')
  yield part(root.retrofit(scheme, train=size.adapt), 'adapted')


class Planned(NamedTuple):
  """A study, the runs that answer it, and what is timed beside them."""

  study: plan.Study
  runs: tuple[config.Run, ...]
  question: measure.Question


def planned(parts: Iterable[Part], of: Size, **fields: Any) -> Planned:
  """Plan a study from its runs, roots first.

  Args:
    parts: every run and what it stands for.
    of: how large it is.
    fields: of `plan.Study`, but those that follow from the others.
  """
  runs, cells = zip(*parts)
  adapt = of.adapt
  by_label = {cell.label: run for run, cell in zip(runs, cells)}
  study = plan.Study(
    cells=cells,
    lookups={
      label: (_lookups_of(run, of.trained), _lookups_of(run, of.target))
      for label, run in by_label.items()
    },
    trained_length=of.trained,
    target=of.target,
    tasks=study_sizes.TASKS,
    adaptation=(
      f'{adapt.steps} steps of {adapt.batch} sequences of '
      f'{" or ".join(f"{n:,}" for n in adapt.rungs)} tokens, '
      f'{adapt.tokens:,} tokens a seed, all weights, learning rate '
      f'{adapt.learning_rate:g}'
    ),
    transfers=of.transfers,
    **fields,
  )
  # The base changes no program, so one regime is timed for all; a bias that is
  # not there before an adaptation is timed as it is after it.
  timed = dict.fromkeys(
    run.scheme
    for run, cell in zip(runs, cells)
    if (cell.regime, cell.schedule) == (cells[0].regime, 'adapted')
  )
  question = measure.Question(
    compared=tuple(timed),
    baseline=runs[0].scheme,
    lengths=(of.timed,),
    quantities=('prefill', 'decode'),
    layers=of.model.layers,
    heads=of.model.heads,
    head_width=of.model.head_width,
    rounds=ROUNDS,
    minutes=of.minutes,
  )
  return Planned(study, runs, question)


def _lookups_of(run: config.Run, length: int) -> int:
  return lookups(run.evaluated_scheme(length), run.model, length)


def lookups(scheme: schemes.Scheme, shape: config.Model, length: int) -> int:
  """Count the learned numbers that the bias of a decoded token looks up.

  Those that the program gathers from what the scheme learns, for one head, one
  query and `length` keys.

  >>> shape = config.Model()
  >>> [lookups(schemes.T5(), shape, n) for n in (32, 256)]
  [32, 256]
  >>> lookups(schemes.RoPE() + schemes.ALiBi(), shape, 256)
  0
  """
  params = jax.eval_shape(
    lambda: scheme.init_layer(jax.random.key(0), shape.dims)
  )
  if not jax.tree.leaves(params):
    return 0
  index_1xL = jnp.arange(length, dtype=jnp.int32)[None]
  at = scheme.remap(index_1xL, None)
  q_at = jax.tree.map(lambda x: x[:, -1:], at)
  jaxpr = jax.make_jaxpr(lambda p: placed.bias(scheme, p, 1, q_at, at))(params)
  return _gathered(jaxpr.jaxpr, set(jaxpr.jaxpr.invars))


def _gathered(jaxpr: Any, learned: set[Any]) -> int:
  """Return how many numbers a program gathers from some of its inputs."""
  total, learned = 0, set(learned)
  for eqn in jaxpr.eqns:
    # A literal has no hash.
    known = [not hasattr(v, 'val') and v in learned for v in eqn.invars]
    if not any(known):
      continue
    inner = list(memory.programs(eqn))
    for program in inner:
      total += _gathered(
        program, set(itertools.compress(program.invars, known))
      )
    if not inner and eqn.primitive.name == 'gather' and known[0]:
      total += sum(v.aval.size for v in eqn.outvars)
    learned.update(eqn.outvars)
  return total


def few_seeds(planned: Planned) -> str:
  """Say what the study cannot claim with its seeds; '' if it can all."""
  seeds = len(planned.runs[0].seeds)
  beyond = families.beyond(planned.study, seeds)
  if not beyond:
    return ''
  return (
    f'With {seeds} seeds the study cannot claim '
    f'{format_lib.listed(beyond, "or")}, whatever they show.'
  )


def outlook(planned: Planned) -> str:
  """Say what a study takes beside its runs, and on an accelerator."""
  flops = sum(flop_count.run_flops(run) for run in grid.plan(planned.runs))
  question = planned.question
  return (
    f'Then the latency of {len(question.compared)} schemes at '
    f'{question.lengths[-1]:,} tokens, about {question.minutes:g} min, and the '
    f'memo. On an accelerator that sustains {RATE / 1e12:g} TFLOP/s, which is '
    f'assumed and was not measured, the runs take about '
    f'{progress.duration(flops / RATE)}.'
  )


def measure_latency(planned: Planned, workdir: pathlib.Path) -> None:
  """Time what the study asks for, unless that was done already."""
  # As it is read again.
  asked = json.loads(json.dumps(planned.question.to_dict()))
  for body in cost_records.read_all(workdir):
    if body['question'] == asked and not body['interrupted']:
      return
  body = measure.answer(planned.question, workdir / 'log.txt')
  cost_records.write(workdir, body)
  if body['interrupted']:
    raise KeyboardInterrupt

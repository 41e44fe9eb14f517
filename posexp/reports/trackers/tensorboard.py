"""TensorBoard's event files, one a run and seed, without TensorFlow."""

import datetime
import importlib
import io
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from posexp import component
from posexp.reports.trackers import base, series
from posexp.results import files

# TensorBoard looks for `tfevents`. The name is always the same, so that what is
# written again is there once.
NAME = 'events.out.tfevents.posexp'
# Characters of a run's name in a path, where 255 bytes are the limit.
LONGEST = 160
# What a directory is not called on every system.
_ODD = re.compile(r'[^\w.()\[\]+,=-]+', re.ASCII)


def require(flag: str) -> None:
  """Raise a `UserError` that names the extra if TensorBoard is missing."""
  component.extra('tensorboard', flag, 'tensorboard')


def place(workdir: pathlib.Path) -> pathlib.Path:
  """Return where event files go unless somewhere is named."""
  return workdir / 'tensorboard'


def folder(name: str, digest: str, seed: int) -> str:
  """Return a run's name in TensorBoard, which is its directory.

  >>> folder('Ordering: RoPE() -> RoPE(NTK(4))', '0123456789abcdef', 2)
  'Ordering RoPE() to RoPE(NTK(4)) 01234567/seed 2'
  """
  plain = _ODD.sub(' ', name.replace('->', 'to')).strip()
  return f'{plain[:LONGEST].strip()} {digest[:8]}/seed {seed}'


class Tracker(base.Tracker):
  """Event files under a directory, each written whole and in one move.

  The time of all that a run has is when its record was written: the same
  record gives the same bytes.
  """

  def has(self, digest: str, name: str, seeds: Sequence[int]) -> bool:
    return all(self._path(name, digest, seed).exists() for seed in seeds)

  def send(self, record: Mapping[str, Any]) -> None:
    digest = record['digest']
    when = datetime.datetime.fromisoformat(record['finished']).timestamp()
    for seed, curves in series.curves(record).items():
      path = self._path(record['name'], digest, seed)
      path.parent.mkdir(parents=True, exist_ok=True)
      files.put(path, _events(record, curves, when), over=True)

  def _path(self, name: str, digest: str, seed: int) -> pathlib.Path:
    return self._output / folder(name, digest, seed) / NAME


def _events(
  record: Mapping[str, Any], curves: series.Curves, when: float
) -> bytes:
  """Return the content of an event file."""
  event = importlib.import_module('tensorboard.compat.proto.event_pb2')
  writer = importlib.import_module('tensorboard.summary.writer.record_writer')
  content = io.BytesIO()
  events = writer.RecordWriter(content)

  def put(step: int = 0, **fields: Any) -> None:
    written = event.Event(wall_time=when, step=step, **fields)
    events.write(written.SerializeToString())

  put(file_version='brain.Event:2')
  put(summary=_parameters(record, when))
  for step, loss in curves.loss:
    put(step, summary=_scalars({'train/loss': loss}))
  for length, numbers in curves.lengths:
    named = {f'length/{name}': value for name, value in numbers.items()}
    put(length, summary=_scalars(named))
  return content.getvalue()


def _scalars(values: Mapping[str, float]) -> Any:
  summary = importlib.import_module('tensorboard.compat.proto.summary_pb2')
  scalars = summary.Summary()
  for tag, value in values.items():
    scalars.value.add(tag=tag, simple_value=value)
  return scalars


def _parameters(record: Mapping[str, Any], when: float) -> Any:
  """Return settings for the tab HParams; the seeds of a run are one group."""
  hparams = importlib.import_module('tensorboard.plugins.hparams.summary_v2')
  plugin = importlib.import_module(
    'tensorboard.plugins.hparams.plugin_data_pb2'
  )
  flat = series.flat(series.settings(record))
  known = {name: value for name, value in flat.items() if value is not None}
  parameters = hparams.hparams_pb(known, record['digest'], when)
  # In an order that is the same in every process.
  data = parameters.value[0].metadata.plugin_data
  parsed = plugin.HParamsPluginData.FromString(data.content)
  data.content = parsed.SerializeToString(deterministic=True)
  return parameters

"""Reading back what trackers were told, by other means than they were told."""

import json
import math
import pathlib
import struct
import time


def tensorboard(directory: pathlib.Path) -> dict[str, dict]:
  """Scalars by run: (step, value) of each tag, as TensorBoard reads them."""
  from tensorboard.backend.event_processing import event_file_loader

  found = {}
  for path in sorted(directory.rglob('*tfevents*')):
    tags: dict[str, list] = {}
    for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():
      for value in event.summary.value:
        if value.HasField('simple_value'):
          point = event.step, value.simple_value
          tags.setdefault(value.tag, []).append(point)
    name = str(path.parent.relative_to(directory))
    assert name not in found, 'two files of a run'
    found[name] = tags
  return found


def settings(directory: pathlib.Path) -> dict[str, dict]:
  """What the tab HParams is told of each run, and its group."""
  from tensorboard.backend.event_processing import event_file_loader
  from tensorboard.plugins.hparams import plugin_data_pb2

  found = {}
  for path in sorted(directory.rglob('*tfevents*')):
    for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == 'hparams':
          content = value.metadata.plugin_data.content
          data = plugin_data_pb2.HParamsPluginData.FromString(content)
          start = data.session_start_info
          values = {
            name: getattr(v, v.WhichOneof('kind'))
            for name, v in start.hparams.items()
          }
          values['group'] = start.group_name
          found[str(path.parent.relative_to(directory))] = values
  return found


def wandb(directory: pathlib.Path) -> dict[str, dict]:
  """Runs of W&B by id, from what an offline run leaves behind.

  Of each its group, name, project, config, history rows and summary.
  """
  found = {}
  for path in sorted(directory.glob('wandb/offline-run-*/*.wandb')):
    limit = time.monotonic() + 120
    # Its service writes the last of it after the run was said to be finished.
    while 'code' not in (run := _run(path)):
      assert time.monotonic() < limit, f'{path} has no end'
      time.sleep(0.05)
    assert run['id'] not in found, 'two directories of a run'
    found[run['id']] = run
  return found


def _run(path: pathlib.Path) -> dict:
  run: dict = {'history': [], 'summary': {}}
  for record in _records(path.read_bytes()):
    kind = record.WhichOneof('record_type')
    if kind == 'run':
      run['id'] = record.run.run_id
      run['group'] = record.run.run_group
      run['name'] = record.run.display_name
      run['project'] = record.run.project
      run['config'] = _values(record.run.config.update)
    elif kind == 'history':
      run['history'].append(_values(record.history.item))
    elif kind == 'summary':
      run['summary'] |= _values(record.summary.update)
    elif kind == 'exit':
      run['code'] = record.exit.exit_code
  return run


def _values(items) -> dict:
  found = {}
  for item in items:
    name = item.key or '.'.join(item.nested_key)
    value = json.loads(item.value_json)
    if not name.startswith('_'):  # Its own: time, version and the like.
      found[name] = math.nan if value == 'NaN' else value
  return found


def _records(content: bytes):
  """Messages in a log of LevelDB: chunks in blocks of 32 KiB after 7 bytes."""
  from wandb.proto import wandb_internal_pb2

  assert content[:4] in (b':W&B', b'')
  at, partial = 7, b''
  while at + 7 <= len(content):
    if 32768 - at % 32768 < 7:
      at += 32768 - at % 32768
      continue
    _, length, kind = struct.unpack('<IHB', content[at : at + 7])
    if at + 7 + length > len(content):
      return
    partial += content[at + 7 : at + 7 + length]
    at += 7 + length
    if kind in (1, 4):  # Whole, or the last part.
      yield wandb_internal_pb2.Record.FromString(partial)
      partial = b''

"""The frozen evaluation sets as a TFDS builder; no TensorFlow anywhere.

TFDS imports TensorFlow only for what is asked of it, and array_record files
need none of it, neither to be written nor to be read as a data source.
"""

import contextlib
import dataclasses
import functools
import io
import logging
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import writer
from tensorflow_datasets.proto import tf_example_pb2

from posexp import tasks, version
from posexp.data import examples, published

SPLIT = 'test'

_DESCRIPTION = f"""\
Synthetic sequences that ask a causal language model to find and to order, made
by posexp. Every array is aligned with `tokens`: an entry at t speaks of the
token at t, which is to be predicted from the tokens before it. A wrong answer
that is one of its `foils` is an order error, any other wrong answer a retrieval
error. The configuration is NAME_WORD_LENGTH: the class of the task, 32 bits of
the SHA-256 of all its fields, and the number of tokens in a sequence.

The {examples.NUMBER} examples are in a fixed order, and the first n may be used
for less than all. They were drawn with Threefry from a key that no training
uses; `metadata` has the task, the key and the SHA-256 of the examples, which
`posexp.data.digest` computes and posexp publishes.
"""

_DOCS = {
  'tokens': 'Token ids, answers included.',
  'targets': 'Where the token is an answer that is scored.',
  'ends': 'The targets that are an end of sequence; scored apart.',
  'foils': 'Tokens that a mistake of order would produce, -1 where there is '
  'none; no foil is the right token.',
}
_STRATUM = (
  "What an accuracy can be grouped by, -1 off target; the task's docstring, "
  'in the description of the configuration, says what it counts.'
)


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
  """A configuration of the builder: one task at one length."""

  eval_set: examples.Set = None  # type: ignore[assignment]

  @classmethod
  def of(cls, eval_set: examples.Set) -> 'Config':
    text = f'{eval_set}.\n\n{type(eval_set.task).__doc__ or ""}'
    return cls(name=eval_set.name, description=text, eval_set=eval_set)


class _Info(tfds.core.DatasetInfo):
  """Without the look-up of what a public bucket knows of the dataset."""

  def initialize_from_bucket(self) -> None:
    pass


class _Writer(writer.ExampleWriter):
  """Writes the arrays of an example in the order of their names.

  Protobuf has another order in every process, and files would differ.
  """

  def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
    return super().write(path, ((key, _sorted(row)) for key, row in examples))


def _sorted(row: bytes) -> bytes:
  example = tf_example_pb2.Example.FromString(row)
  return example.SerializeToString(deterministic=True)


class PosexpFrozen(tfds.core.GeneratorBasedBuilder):
  """`NUMBER` evaluation examples of a task at a length, in the split 'test'.

  A configuration is one of the published sets by its name, or
  `Config.of(Set(task, length))` for any other.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'The first.'}
  BUILDER_CONFIGS = [Config.of(eval_set) for eval_set in published.sets()]

  def __init__(self, *, batch: tasks.Batch | None = None, **options: Any):
    """With a batch, writes that instead of drawing it anew."""
    self._batch = batch
    super().__init__(file_format='array_record', **options)

  def _info(self) -> tfds.core.DatasetInfo:
    return _Info(
      builder=self,
      description=_DESCRIPTION,
      features=features(self.builder_config.eval_set),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(provenance(self.builder_config.eval_set)),
    )

  def _example_writer(self) -> writer.ExampleWriter:
    return _Writer(self.info.file_format)

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    del dl_manager
    return {SPLIT: self._generate_examples()}

  def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
    batch = self._batch or examples.draw(self.builder_config.eval_set)
    self.info.metadata['digest'] = examples.digest(batch)
    arrays = _nested(examples.fields(batch))
    for n in range(examples.NUMBER):
      yield n, jax.tree.map(lambda x, n=n: x[n], arrays)


def features(eval_set: examples.Set) -> tfds.features.FeaturesDict:
  """Return what an example holds, with a sentence on each array."""
  sample = functools.partial(
    eval_set.task.sample, length=eval_set.length, batch=1
  )
  shapes = jax.eval_shape(sample, jax.random.key(0, impl='threefry2x32'))
  tensors = {
    name: tfds.features.Tensor(
      shape=array.shape[1:],
      dtype=np.dtype(array.dtype),
      encoding='bytes',
      doc=_DOCS.get(name, _STRATUM),
    )
    for name, array in examples.fields(shapes).items()
  }
  return tfds.features.FeaturesDict(_nested(tensors))


def provenance(eval_set: examples.Set) -> dict[str, Any]:
  """Return where the examples come from, as plain JSON values."""
  task, length = eval_set.task, eval_set.length
  return {
    'task': task.to_dict(),
    'length': length,
    'examples': examples.NUMBER,
    'vocabulary': task.vocabulary,
    'chance': task.chance(length),
    'key': f'threefry2x32, fold_in(fold_in(fold_in(key({examples.FOLD:#x}), '
    f'{examples.word(task):#010x}), {length}), i // {examples.DRAW}) for '
    f'example i, which is number i % {examples.DRAW} of that batch',
    'posexp': version.VERSION,
  }


def write(
  eval_set: examples.Set, batch: tasks.Batch, directory: pathlib.Path
) -> pathlib.Path:
  """Write a set under a data directory: there whole, or not at all."""
  name: Any = eval_set.name
  if name not in PosexpFrozen.builder_configs:
    name = Config.of(eval_set)
  with _quiet(), tempfile.TemporaryDirectory() as downloads:
    builder = PosexpFrozen(batch=batch, config=name, data_dir=directory)
    builder.download_and_prepare(
      download_dir=downloads,
      download_config=tfds.download.DownloadConfig(try_download_gcs=False),
    )
  return pathlib.Path(builder.data_dir)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silence the bars, banners and warnings of TFDS: posexp has its own."""
  logger = logging.getLogger('absl')
  level = logger.level
  tfds.disable_progress_bar()
  logger.setLevel(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logger.setLevel(level)
    tfds.enable_progress_bar()


def read(path: str | os.PathLike) -> tuple[tasks.Batch, dict[str, Any]]:
  """Return the examples in a directory of a set, and their provenance."""
  builder = tfds.builder_from_directory(path)
  source = builder.as_data_source(split=SPLIT)
  rows = source.__getitems__(list(range(len(source))))
  arrays = jax.tree.map(lambda *x: np.stack(x), *rows)
  batch = tasks.Batch(
    tokens_BxL=arrays['tokens'],
    targets_BxL=arrays['targets'],
    ends_BxL=arrays['ends'],
    foils_BxLxC=arrays['foils'],
    strata=arrays.get('strata', {}),
  )
  return batch, dict(builder.info.metadata)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Return 'strata/NAME' as a dictionary in a dictionary."""
  nested: dict[str, Any] = {}
  for name, value in flat.items():
    group, _, inner = name.rpartition('/')
    (nested.setdefault(group, {}) if group else nested)[inner] = value
  return nested

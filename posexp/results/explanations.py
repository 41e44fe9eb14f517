"""What `posexp explain` found, and the file that it leaves; no JAX needed."""

import io
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from posexp import component
from posexp.results import files

# Of the file. Another form has another number.
FORMAT = 1


class Equality(NamedTuple):
  """How far a scaled rotation is from the plain one at other positions.

  Each is max |R'(n) x - R(p) x| over normal x, in float32, for p = r_k n.

  Attributes:
    distance: n, in tokens.
    own: r_k = theta'_k / theta_k, each pair its own ratio.
    shared: r_k = 1 / s for all pairs.
    none: r_k = 1, no transformation.
  """

  distance: int
  own: float
  shared: float
  none: float


class Rotation(NamedTuple):
  """The pairs of a rotation; periods in tokens, inf where a pair stands.

  Attributes:
    name: of the scheme that rotates.
    before_K: 2 pi / theta_k, unscaled.
    after_K: the same, with the law and the positions of the scheme.
    factor: s, what law and positions ask for; 1 without a factor.
    temperature: the factor on the content logits.
    equalities: at several distances; none where nothing is scaled.
  """

  name: str
  before_K: np.ndarray
  after_K: np.ndarray
  factor: float
  temperature: float
  equalities: tuple[Equality, ...]

  @property
  def stretch_K(self) -> np.ndarray:
    """By how much each period is longer than before."""
    return self.after_K / self.before_K

  @property
  def scaled(self) -> bool:
    return not np.allclose(self.stretch_K, 1, rtol=1e-6)

  @property
  def matched(self) -> bool:
    """Whether the first pair is as before and the last stretched by s."""
    ends = self.stretch_K[[0, -1]]
    return bool(np.allclose(ends, [1, self.factor], rtol=1e-6))


class Stairs(NamedTuple):
  """A table of buckets filled with ALiBi's bias at each first distance."""

  name: str
  bucket_N: np.ndarray
  filled_HxN: np.ndarray
  alibi_HxN: np.ndarray


class Content(NamedTuple):
  """What distance does to q.k, at distances n of at least 1.

  Attributes:
    score_N: the mean q.k of two equal tokens over that at distance 0.
    change_N: rms over contents of q.k at n less at n - 1, over the rms of q.k.
    plain_N: the same without scaling; None where nothing is scaled.
  """

  score_N: np.ndarray
  change_N: np.ndarray
  plain_N: np.ndarray | None


class Explanation(NamedTuple):
  """All that `posexp explain` shows.

  Attributes:
    scheme: with its numbers resolved, as it is used at the target; its text
      where it was read.
    train_length: in tokens.
    target: in tokens.
    notes: sentences on what is, or cannot be, shown.
    distance_N: n = 1, 2, ..., target - 1, sampled if these are many.
    rotations: one for each rotation inside the scheme.
    bias_HxT: of each head at distances 0 to target - 1, in nats.
    stairs: for each table of buckets inside the scheme.
    content: None where distance leaves q.k alone.
    similarity_T: p_i.p_j / p_i.p_i of what is added to the input.
  """

  scheme: Any
  train_length: int
  target: int
  notes: tuple[str, ...]
  distance_N: np.ndarray
  rotations: tuple[Rotation, ...]
  bias_HxT: np.ndarray | None
  stairs: tuple[Stairs, ...]
  content: Content | None
  similarity_T: np.ndarray | None

  @property
  def step_HxN(self) -> np.ndarray | None:
    """How much the bias changes from n - 1 to n, in nats."""
    if self.bias_HxT is None:
      return None
    n = self.distance_N
    return np.abs(self.bias_HxT[:, n] - self.bias_HxT[:, n - 1])


def write(path: str | os.PathLike, explanation: Explanation) -> pathlib.Path:
  """Write an explanation to one file, numbers as they are.

  Args:
    path: ends with .npz; what is there is replaced.
    explanation: as `explain.explain` gives it.
  """
  arrays: dict[str, np.ndarray] = {}
  body = {'format': FORMAT, 'found': _to_plain(explanation, arrays)}
  packed = io.BytesIO()
  everything: dict[str, Any] = {**arrays, 'body': json.dumps(body)}
  np.savez_compressed(packed, **everything)
  path = pathlib.Path(path)
  files.put(path, packed.getvalue(), over=True)
  return path


def read(path: str | os.PathLike) -> Explanation:
  """Return the explanation in a file, its scheme as text.

  Raises:
    UserError: naming the file, if it is not one that `write` wrote.
  """
  try:
    with np.load(path, allow_pickle=False) as arrays:
      body = json.loads(str(arrays['body']))
      if body['format'] != FORMAT:
        raise component.UserError(
          f'format {body["format"]}, this reads {FORMAT}'
        )
      return _explanation(_from_plain(body['found'], arrays))
  except (OSError, ValueError, LookupError, TypeError, EOFError) as error:
    raise component.UserError(
      f'{path} cannot be read as what `posexp explain` writes ({error}): '
      'write it again'
    ) from None


def _to_plain(value: Any, arrays: dict[str, np.ndarray]) -> Any:
  """Return JSON values; an array is put into `arrays`, and its name here."""
  if isinstance(value, np.ndarray):
    name = f'array{len(arrays)}'
    arrays[name] = value
    return {'array': name}
  if isinstance(value, tuple):
    fields = getattr(value, '_fields', None)
    if fields:
      return {k: _to_plain(v, arrays) for k, v in zip(fields, value)}
    return [_to_plain(each, arrays) for each in value]
  return value if isinstance(value, int | float | None) else str(value)


def _from_plain(value: Any, arrays: Any) -> Any:
  """Return the inverse of `_to_plain`, with dictionaries for classes."""
  if isinstance(value, list):
    return tuple(_from_plain(each, arrays) for each in value)
  if not isinstance(value, dict):
    return value
  if set(value) == {'array'}:
    return arrays[value['array']]
  return {name: _from_plain(each, arrays) for name, each in value.items()}


def _explanation(values: dict[str, Any]) -> Explanation:
  rotations = []
  for rotation in values['rotations']:
    equalities = tuple(Equality(**each) for each in rotation['equalities'])
    rotations.append(Rotation(**rotation | {'equalities': equalities}))
  stairs = tuple(Stairs(**each) for each in values['stairs'])
  content = values['content'] and Content(**values['content'])
  return Explanation(
    **values
    | {'rotations': tuple(rotations), 'stairs': stairs, 'content': content}
  )

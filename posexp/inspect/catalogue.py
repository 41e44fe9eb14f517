"""What each scheme and frequency law is, read off its class and docstring.

`listing` prints it and `make docs` writes it, so that neither can say what the
code does not.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import TypeVar

import jax

from posexp import component, schemes

T = TypeVar('T')

# The sizes for which learned numbers are counted.
DIMS = schemes.Dims(width=64, heads=4, head_width=16)
TRAINED = 64

ABSOLUTE = 'Absolute position, and none'
ROTATION = 'Rotations'
LAW = 'Frequency laws of rotations'
BIAS = 'Biases'
CONTENT = 'Content and whole rows'
WRAPPER = 'Wrappers'
FAMILIES = ABSOLUTE, ROTATION, LAW, BIAS, CONTENT, WRAPPER


@dataclasses.dataclass(frozen=True)
class Entry:
  """A scheme or law with what can be told of it.

  Attributes:
    kind: its class.
    example: one of it: with all defaults, where it has them.
    variants: all of it that the catalogue has, as schemes.
  """

  kind: type[component.Component]
  example: component.Component
  variants: tuple[schemes.Scheme, ...]

  @property
  def name(self) -> str:
    return self.kind.__name__

  @property
  def fields(self) -> list[str]:
    """The fields with their defaults, as arguments."""
    return [
      field.name
      if field.default is dataclasses.MISSING
      else f'{field.name}={component.written(field.default)}'
      for field in dataclasses.fields(self.kind)  # type: ignore[arg-type]
    ]

  @property
  def call(self) -> str:
    """The class with all fields and their defaults."""
    return f'{self.name}({", ".join(self.fields)})'

  @property
  def scheme(self) -> schemes.Scheme:
    """The example as a scheme: a law in a rotation."""
    return _as_scheme(self.example)

  @property
  def family(self) -> str:
    return LAW if issubclass(self.kind, schemes.Law) else family(self.scheme)

  def label(self, name: str) -> str:
    """Return what its docstring says after 'Source:', 'Golden:', or ''.

    >>> find('Linear').label('Source')
    'Chen et al. 2023, arXiv 2306.15595, equation 4.'
    """
    pattern = rf'^{name}: (.*?)(?=\n\w+:|\n\n|\Z)'
    labelled = re.search(pattern, docstring(self.kind), re.M | re.S)
    return ' '.join(labelled[1].split()) if labelled else ''

  def facts(self) -> dict[str, str]:
    """Return what it acts on, learns and keeps, in words."""
    if issubclass(self.kind, schemes.Wrapper):
      inner = ('learned', 'relative', 'blockwise')
      return {
        'acts on': "remap, and its scheme's",
        **dict.fromkeys(inner, 'as its scheme'),
      }
    return {**facts(self.scheme), 'learned': self._learned()}

  def _learned(self) -> str:
    counts = [learned(scheme) for scheme in (self.scheme, *self.variants)]
    some = [count for count in counts if count != 'none']
    return f'none or {some[0]}' if counts[0] == 'none' and some else counts[0]


def entries() -> tuple[Entry, ...]:
  """Return an entry for every class in the catalogue, family by family."""
  variants: dict[type, list[component.Component]] = {}
  for scheme in schemes.CATALOGUE:
    for part in _inside(scheme):
      variants.setdefault(type(part), []).append(part)
  listed = []
  for kind, parts in variants.items():
    try:
      example = kind()
    except TypeError:  # It has fields without a default.
      example = parts[0]
    listed.append(Entry(kind, example, tuple(map(_as_scheme, parts))))
  return tuple(sorted(listed, key=lambda e: FAMILIES.index(e.family)))


def docstring(kind: type) -> str:
  """Return the docstring of a class, without its indentation."""
  return inspect.getdoc(kind) or ''


# What a task says of itself, and its fields.
_LABELS = re.compile(
  r'^(Answerers|Foils \(C = \d\)|Strata): (.*?)(?=\n(?:Foils|Strata)|\n\n|\Z)',
  re.M | re.S,
)
_FIELDS = re.compile(r'^  (\w+): (?:.*)(?:\n    .*)*', re.M)


def task_docstring(kind: type) -> str:
  """Return the docstring of a task with what its base classes say.

  Answerers and foils are those that the nearest class names, strata those of
  all classes, and each field is told of by the nearest class that does.
  """
  docs = [
    inspect.cleandoc(vars(parent)['__doc__'])
    for parent in kind.__mro__
    if vars(parent).get('__doc__') and parent is not object
  ]
  text, _, example = docs[0].partition('\n\n>>> ')
  prose = _LABELS.sub('', text.partition('\n\nArgs:\n')[0]).strip()
  labels: dict[str, list[str]] = {}
  fields: dict[str, str] = {}
  for doc in docs:
    for label, words in _LABELS.findall(doc):
      labels.setdefault(label.partition(' ')[0], [label]).append(words)
    for field in _FIELDS.finditer(doc.partition('\n\nArgs:\n')[2]):
      fields.setdefault(field[1], field[0])
  lines = []
  for name in ('Answerers', 'Foils', 'Strata'):
    if name in labels:
      label, *words = labels[name]
      words = words if name == 'Strata' else words[:1]
      joined = '; '.join(part.removesuffix('.') for part in words)
      lines.append(textwrap.fill(f'{label}: {joined}.', 80))
  blocks = [prose, '\n'.join(lines)]
  listed = [
    fields[field.name]
    for field in dataclasses.fields(kind)
    if field.name in fields
  ]
  blocks.append('\n'.join(['Args:', *listed]))
  return '\n\n'.join([*filter(None, blocks), f'>>> {example}'])


def summary(kind: type) -> str:
  """Return the first paragraph of a docstring on one line.

  >>> summary(schemes.ALiBi)
  'Subtract a fixed multiple of the distance from each logit.'
  """
  return ' '.join(docstring(kind).partition('\n\n')[0].split())


def family(scheme: schemes.Scheme) -> str:
  """Return which of `FAMILIES` a scheme is of, by what it does.

  >>> family(schemes.RoPE()), family(schemes.T5(scaled=False))
  ('Rotations', 'Biases')
  """
  hooks = scheme.hooks()
  if isinstance(scheme, schemes.Wrapper):
    return WRAPPER
  if {'locate', 'rescore'} & set(hooks) or scheme.factor_only:
    return CONTENT
  if 'bias' in hooks:
    return BIAS
  if explained(scheme) is not type(scheme):
    return LAW
  return ROTATION if 'rotate' in hooks else ABSOLUTE


def explained(scheme: schemes.Scheme) -> type:
  """Return the class that tells a scheme apart: its law, if scaled."""
  law = getattr(scheme, 'frequencies', None)
  scaled = isinstance(law, schemes.Law) and type(law) is not schemes.Law
  return type(law) if scaled else type(scheme)


def facts(scheme: schemes.Scheme) -> dict[str, str]:
  """Return what a scheme acts on, learns and keeps, in words.

  >>> facts(schemes.ALiBi())['acts on'], facts(schemes.FIRE())['relative']
  ('bias', 'no')
  """
  return {
    'acts on': ', '.join(scheme.hooks()) or 'nothing',
    'learned': learned(scheme),
    'relative': 'yes' if scheme.relative else 'no',
    'blockwise': 'yes' if scheme.blockwise else 'no',
  }


def learned(scheme: schemes.Scheme) -> str:
  """Return how many numbers it learns at `DIMS`, per model and per layer.

  >>> learned(schemes.T5()), learned(schemes.ALiBi())
  ('128 a layer', 'none')
  """
  scheme, key = scheme.trained_at(TRAINED), jax.random.key(0)
  counts = []
  for init, place in (
    (scheme.init_input, 'model'),
    (scheme.init_layer, 'layer'),
  ):
    shapes = jax.eval_shape(lambda init=init: init(key, DIMS))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if count:
      counts.append(f'{count:,} a {place}')
  return ' and '.join(counts) or 'none'


def find(name: str) -> Entry:
  """Return the entry of a name, in any case; a `UserError` if there is none.

  >>> find('yarn').name
  'YaRN'
  >>> find('Alibbi')
  Traceback (most recent call last):
  ...
  posexp.UserError: no scheme or law is called 'Alibbi' (did you mean ALiBi?)...
  """
  known = {entry.name: entry for entry in entries()}
  return look_up(name, known, 'scheme or law', 'posexp schemes')


def look_up(name: str, known: Mapping[str, T], what: str, command: str) -> T:
  """Return the value of a name, in any case; a `UserError` if unknown."""
  for key, value in known.items():
    if key.lower() == name.lower():
      return value
  raise component.UserError(
    f'no {what} is called {name!r}{component.nearest(name, known)}: '
    f'`{command}` lists them'
  )


def _as_scheme(part: component.Component) -> schemes.Scheme:
  """Return a scheme as it is, and a law as the law of a rotation."""
  if isinstance(part, schemes.Law):
    return schemes.RoPE(part)
  assert isinstance(part, schemes.Scheme)
  return part


def _inside(part: component.Component) -> Iterator[component.Component]:
  """Yield a scheme and the schemes and laws in its fields."""
  yield part
  for field in dataclasses.fields(part):  # type: ignore[arg-type]
    value = getattr(part, field.name)
    if isinstance(value, schemes.Scheme | schemes.Law):
      yield from _inside(value)

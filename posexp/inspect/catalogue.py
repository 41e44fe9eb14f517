"""What each scheme and frequency law is, read off its class and docstring.

`listing` prints it and `make docs` writes it, so that neither can say what the
code does not.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator

import jax

from posexp import component, schemes

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

# Whose code gave the golden numbers of the tests; what is not here is tested
# against a loop written from its paper alone, as are all of these besides.
_HF = 'huggingface/transformers'
_YARN = 'jquesnelle/yarn'
GOLDEN: dict[str, tuple[str, ...]] = {
  'RoPE': (_HF,),
  'Law': (_HF,),
  'Linear': (_HF,),
  'NTK': (_YARN,),
  'DynamicNTK': (_HF, _YARN),
  'YaRN': (_HF, _YARN),
  'LongRoPE': (_HF,),
  'Llama3': (_HF,),
  'Proportional': (_HF,),
  'xPos': ('microsoft/torchscale',),
  'ALiBi': ('ofirpress/attention_with_linear_biases',),
  'T5': (_HF,),
  'KERPLE': ('chijames/KERPLE',),
  'Sandwich': ('meta-pytorch/attention-gym',),
  'FIRE': ('mcleish7/arithmetic',),
  'DynamicBias': ('lucidrains/x-transformers',),
  'Forgetting': ('zhixuan-lin/forgetting-transformer',),
  'StickBreaking': ('shawntan/stickbreaking-attention',),
  'CoPE': ('facebookresearch/RAM',),
  'PoPE': ('lucidrains/x-transformers',),
}
# Those written by the authors of what they are the golden of.
AUTHORS = frozenset(
  {
    _YARN,
    'microsoft/torchscale',
    'ofirpress/attention_with_linear_biases',
    'chijames/KERPLE',
    'zhixuan-lin/forgetting-transformer',
    'shawntan/stickbreaking-attention',
    'facebookresearch/RAM',
  }
)

_LABEL = re.compile(r'(?:^|(?<=[.)]) )(Source|Use|Fails): ')
_ATTRIBUTE = re.compile(r'^  (\w+): (.*(?:\n    .*)*)', flags=re.M)


@dataclasses.dataclass(frozen=True)
class Text:
  """A docstring in its parts, every paragraph on one line.

  Attributes:
    summary: the first sentence.
    body: what follows: the equations.
    source: what it is transcribed from.
    use: when to use it.
    fails: its known failure.
    attributes: a text a field.
    example: the doctest, as it stands.
  """

  summary: str
  body: tuple[str, ...]
  source: str
  use: str
  fails: str
  attributes: dict[str, str]
  example: str


def read(kind: type) -> Text:
  """The parts of a docstring; '' for what it lacks.

  >>> read(schemes.Linear).source
  'Chen et al. 2023, arXiv 2306.15595, equation 4.'
  """
  text, mark, example = (inspect.getdoc(kind) or '').partition('>>> ')
  text, _, attributes = text.partition('Attributes:\n')
  body, labelled = [], dict.fromkeys(('Source', 'Use', 'Fails'), '')
  for paragraph in text.strip().split('\n\n'):
    rest, *found = _LABEL.split(_line(paragraph))
    body.append(rest)
    labelled |= zip(found[::2], map(str.strip, found[1::2]))
  return Text(
    summary=body[0],
    body=tuple(b.strip() for b in body[1:] if b),
    source=labelled['Source'],
    use=labelled['Use'],
    fails=labelled['Fails'],
    attributes={k: _line(v) for k, v in _ATTRIBUTE.findall(attributes)},
    example=(mark + example).strip(),
  )


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
  def text(self) -> Text:
    return read(self.kind)

  @property
  def arguments(self) -> list[str]:
    """All fields with their defaults."""
    shown = []
    for field in dataclasses.fields(self.kind):  # type: ignore[arg-type]
      default = field.default
      if default is dataclasses.MISSING:
        shown.append(field.name)
      else:
        own = isinstance(default, component.Component)
        shown.append(f'{field.name}={default if own else repr(default)}')
    return shown

  @property
  def scheme(self) -> schemes.Scheme:
    """The example as a scheme: a law in a rotation."""
    return as_scheme(self.example)

  @property
  def family(self) -> str:
    return LAW if issubclass(self.kind, schemes.Law) else family(self.scheme)

  @property
  def golden(self) -> tuple[str, ...]:
    """The repositories that gave its golden numbers."""
    return GOLDEN.get(self.name, ())

  def facts(self) -> dict[str, str]:
    """What it acts on, learns and keeps, in words."""
    golden = ', '.join(
      f'{g} (authors)' if g in AUTHORS else g for g in self.golden
    )
    facts = {
      'acts on': ', '.join(self.scheme.hooks()) or 'nothing',
      'learned': self._learned(),
      'relative': yes(self.scheme.relative),
      'blockwise': yes(self.scheme.blockwise),
    }
    if issubclass(self.kind, schemes.Wrapper):
      facts = dict.fromkeys(facts, 'as its scheme')
      facts['acts on'] = "remap, and its scheme's"
    return facts | {'golden from': golden or 'none: reference loop only'}

  def _learned(self) -> str:
    own = learned(self.scheme)
    others = [learned(v) for v in self.variants if v.learns()]
    return f'none or {others[0]}' if own == 'none' and others else own


def entries() -> tuple[Entry, ...]:
  """Every class in the catalogue, in its order, family by family."""
  found: dict[type, list[component.Component]] = {}
  for scheme in schemes.CATALOGUE:
    for part in _inside(scheme):
      found.setdefault(type(part), []).append(part)
  listed = []
  for kind, parts in found.items():
    try:
      example = kind()
    except TypeError:  # It has fields without a default.
      example = parts[0]
    listed.append(Entry(kind, example, tuple(map(as_scheme, parts))))
  return tuple(sorted(listed, key=lambda e: FAMILIES.index(e.family)))


def find(name: str) -> Entry:
  """The entry of a name, in any case; a sentence if there is none.

  >>> find('yarn').name
  'YaRN'
  >>> find('Alibbi')
  Traceback (most recent call last):
  ...
  posexp.UserError: no scheme or law is called 'Alibbi' (did you mean ALiBi?)...
  """
  known = {e.name.lower(): e for e in entries()}
  if name.lower() not in known:
    close = component.nearest(name.lower(), known)
    for lower, entry in known.items():
      close = re.sub(rf'\b{lower}\b', entry.name, close)
    raise component.UserError(
      f'no scheme or law is called {name!r}{close}: `posexp schemes` lists them'
    )
  return known[name.lower()]


def as_scheme(part: component.Component) -> schemes.Scheme:
  """A scheme as it is, and a law as the law of a rotation."""
  if isinstance(part, schemes.Law):
    return schemes.RoPE(part)
  assert isinstance(part, schemes.Scheme)
  return part


def family(scheme: schemes.Scheme) -> str:
  """Which of `FAMILIES` a scheme is of, by what it does.

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
  """The class that tells a scheme apart: of a scaled rotation, its law."""
  law = getattr(scheme, 'frequencies', None)
  scaled = isinstance(law, schemes.Law) and type(law) is not schemes.Law
  return type(law) if scaled else type(scheme)


def learned(scheme: schemes.Scheme) -> str:
  """How many numbers it learns at `DIMS`, per model and per layer.

  >>> learned(schemes.T5()), learned(schemes.ALiBi())
  ('128 a layer', 'none')
  """
  scheme, key = scheme.trained_at(TRAINED), jax.random.key(0)
  told = []
  for init, of in ((scheme.init_input, 'model'), (scheme.init_layer, 'layer')):
    shapes = jax.eval_shape(lambda init=init: init(key, DIMS))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    if count:
      told.append(f'{count:,} a {of}')
  return ' and '.join(told) or 'none'


def _inside(part: component.Component) -> Iterator[component.Component]:
  """A scheme and the schemes and laws in its fields."""
  yield part
  for field in dataclasses.fields(part):  # type: ignore[arg-type]
    value = getattr(part, field.name)
    if isinstance(value, schemes.Scheme | schemes.Law):
      yield from _inside(value)


def _line(paragraph: str) -> str:
  return ' '.join(paragraph.split())


def yes(truth: bool) -> str:
  """'yes' or 'no'."""
  return 'yes' if truth else 'no'

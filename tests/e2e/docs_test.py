"""What is told of the schemes is what they are, and what is written is new."""

import inspect
import json
import pathlib
import re

import pytest

from posexp import schemes
from posexp.cli import main
from posexp.inspect import catalogue, listing
from posexp.launch import exit_codes

ROOT = pathlib.Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'testdata'

ENTRIES = catalogue.entries()
every_entry = pytest.mark.parametrize('entry', ENTRIES, ids=lambda e: e.name)

# What other code calls the laws and schemes of the golden files.
HF = {
  'default': 'Law',
  'linear': 'Linear',
  'dynamic': 'DynamicNTK',
  'yarn': 'YaRN',
  'longrope': 'LongRoPE',
  'llama3': 'Llama3',
  'proportional': 'Proportional',
}
BIASES = {
  'alibi': 'ALiBi',
  't5': 'T5',
  'kerple': 'KERPLE',
  'sandwich': 'Sandwich',
  'fire': 'FIRE',
  'dynamic': 'DynamicBias',
}


@pytest.fixture(scope='module')
def make():
  pytest.importorskip('griffe')  # It comes with the extra [docs].
  from docs import make

  return make


def load(name):
  return json.loads((DATA / name).read_text())


def test_the_written_docs_are_what_the_docstrings_say(make):
  for path, text in make.files().items():
    name = path.relative_to(ROOT)
    assert path.exists(), f'{name} is missing: run `make docs`'
    assert path.read_text() == text, f'{name} is out of date: run `make docs`'
  made = {path for path in make.files() if path.suffix == '.md'}
  left = set((ROOT / 'docs/schemes').iterdir()) - made
  assert not left, f'{left} are of no family any more: remove them'


def test_links_of_the_table_lead_to_a_heading(make):
  links = re.findall(r'\]\((\w+\.md)#([^)]+)\)', make.scheme_table())
  assert len(links) == len(ENTRIES)
  for file, anchor in links:
    page = ROOT / 'docs/schemes' / file
    heads = re.findall(r'^## (.+)$', page.read_text(), flags=re.M)
    assert anchor in map(str.lower, heads), anchor


def test_every_scheme_and_law_has_an_entry():
  abstract = {schemes.Scheme, schemes.Sum, schemes.Wrapper}
  public = {
    kind
    for kind in vars(schemes).values()
    if inspect.isclass(kind) and issubclass(kind, schemes.Scheme | schemes.Law)
  }
  assert {e.kind for e in ENTRIES} == public - abstract


@every_entry
def test_every_docstring_has_its_parts(entry):
  assert catalogue.summary(entry.kind).endswith('.')
  for label in ('Source', 'Use', 'Fails'):
    assert entry.label(label), f'{entry.name} does not say its {label}'
  assert re.search(r'\d{4}', entry.label('Source')), entry.label('Source')
  text, _, example = catalogue.docstring(entry.kind).partition('\n>>> ')
  assert example
  _, _, attributes = text.partition('Attributes:\n')
  fields = re.findall(r'^  (\w+): ', attributes, flags=re.M)
  assert fields == list(inspect.signature(entry.kind).parameters)


@every_entry
def test_a_page_has_the_whole_docstring_and_fits_a_terminal(entry):
  page = listing.page(entry.name)
  assert catalogue.docstring(entry.kind) in page
  assert max(map(len, page.split('\n'))) <= 80


@pytest.mark.parametrize('task', listing.TASKS, ids=lambda t: type(t).__name__)
def test_a_page_of_a_task_tells_of_every_field_and_fits_a_terminal(task):
  page = listing.task_page(type(task).__name__)
  assert max(map(len, page.split('\n'))) <= 80
  text, _, example = page.partition('\n>>> ')
  assert example
  _, _, args = text.partition('\nArgs:\n')
  told = re.findall(r'^  (\w+): ', args, flags=re.M)
  assert told == list(inspect.signature(type(task)).parameters)


def test_a_task_is_told_what_its_base_classes_say():
  page = listing.task_page('LookupRight')
  for text in (
    'Answerers: ',  # Of both sides.
    'Strata: `offset`',
    'distance` from the answer back to what was asked',  # Of all look-ups.
    '`query`, the number of the question.',  # Of all that have questions.
  ):
    assert text in page


@every_entry
def test_formulas_are_written_as_code(entry):
  text, _, _ = catalogue.docstring(entry.kind).partition('\n>>> ')
  body, _, fields = text.partition('Attributes:\n')
  body = re.sub(r'^Golden: .*', '', body, flags=re.M)  # Links, as they are.
  paragraphs = [p for p in body.split('\n\n') if not p.startswith('  ')]
  prose = re.sub(r'`[^`]*`', '', '\n'.join([*paragraphs, fields]))
  prose = re.sub(r'^  \w+: ', '', prose, flags=re.M)
  odd = re.search(r'.*([*^=<>|]|\w_\w).*', prose)
  assert not odd, f'put the formula in backticks: {odd[0]}'


def test_goldens_are_those_of_the_test_data():
  found = {}
  add = lambda name, where: found.setdefault(name, set()).add(where)
  hf = load('hf_rope.json')
  for case in hf['cases']:
    add(
      HF[case['rope_parameters']['rope_type']], hf['provenance']['repository']
    )
  assert hf['rotated']
  add('RoPE', hf['provenance']['repository'])
  authors = load('authors_rope.json')
  for case in authors['laws']:
    add(case['law'], authors['provenance']['yarn'])
  assert authors['xpos']
  add('xPos', authors['provenance']['xpos'])
  biases = load('bias.json')
  for key in biases.keys() - {'provenance'}:
    add(BIASES[key], biases['provenance'][key])
  for name, case in load('content.json').items():
    add(name, case['provenance']['repository'])
  for entry in ENTRIES:
    where = found.pop(entry.name, set())
    listed = re.findall(r'[\w-]+/[\w-]+', entry.label('Golden'))
    assert len(listed) == len(where), entry.name
    for path in listed:
      # Packages are named without their owners.
      assert any(path in w or path.split('/')[1] in w for w in where), path
  assert not found


def test_who_is_an_author_is_as_the_test_data_say():
  recorded = json.dumps([load(p.name) for p in DATA.glob('*.json')])
  others = re.findall(r"([\w-]+/[\w-]+) \w+, not the authors'", recorded)
  assert others
  for entry in ENTRIES:
    authors = re.findall(r'([\w-]+/[\w-]+) \(authors\)', entry.label('Golden'))
    assert not set(authors) & set(others), entry.name


@pytest.mark.parametrize(
  'scheme, count',
  [
    (schemes.Learned(10), '640 a model'),
    (schemes.T5(buckets=8, max_distance=16), '32 a layer'),
    (schemes.LogLength(learned=True), '4 a layer'),
    (schemes.Learned(10) + schemes.PoPE(), '640 a model and 64 a layer'),
    (schemes.Interpolate(schemes.ALiBi(), 2), 'none'),
  ],
  ids=str,
)
def test_learned_numbers_are_counted(scheme, count):
  assert catalogue.learned(scheme) == count


def test_families_and_facts():
  of = {e.name: (e.family, e.facts()) for e in ENTRIES}
  assert {family for family, _ in of.values()} == set(catalogue.FAMILIES)
  assert of['NoPE'][0] == catalogue.ABSOLUTE
  assert of['PoPE'][0] == catalogue.ROTATION
  assert of['Law'][0] == of['DroPE'][0] == catalogue.LAW
  assert of['FIRE'][0] == catalogue.BIAS and of['FIRE'][1]['relative'] == 'no'
  assert of['LogLength'][0] == catalogue.CONTENT
  assert of['LogLength'][1]['learned'] == 'none or 4 a layer'
  assert of['CoPE'][1]['blockwise'] == 'no'
  assert of['Shift'][1]['learned'] == 'as its scheme'


def test_the_list_fits_a_terminal_and_has_every_scheme():
  lines = listing.table().split('\n')
  assert max(map(len, lines)) <= 100
  for scheme in schemes.CATALOGUE:
    (row,) = [line for line in lines if line.startswith(f'{scheme}  ')]
    for hook in scheme.hooks():
      assert hook in row
  # A scaled rotation is told by its law.
  row = next(n for n, s in enumerate(lines) if s.startswith('RoPE(YaRN'))
  assert catalogue.summary(schemes.YaRN)[:-1] in lines[row + 1]


def test_one_scheme_is_found_in_any_case(capsys):
  assert main.main(['posexp', 'schemes', 'yarn']) == 0
  out = capsys.readouterr().out
  for text in ('RoPE(YaRN(4, 64))', 'mscale_all_dim', 'Fails: with', '2309.00'):
    assert text in out
  assert main.main(['posexp', 'schemes', 'Alibbi']) == exit_codes.BAD_INPUT
  assert 'did you mean ALiBi' in capsys.readouterr().err

"""Commands that train nothing: what a scheme or a task is and does."""

import pathlib

from posexp.cli.flags import FLAGS, exactly, writable


def explain(words: list[str]) -> int:
  """Prints and draws what a scheme does, before any training."""
  from posexp import schemes
  from posexp.inspect import explain as explain_lib
  from posexp.plots import explanation
  from posexp.reports import explanation_text
  from posexp.results import explanations

  (text,) = exactly(words, ['SCHEME'], 'explain')
  found = explain_lib.explain(
    schemes.parse(text),
    train_length=FLAGS.train_length,
    target=FLAGS.target,
    heads=FLAGS.heads,
    head_width=FLAGS.head_width,
  )
  output = pathlib.Path(FLAGS.output or 'runs/explain')
  writable(output, '--output')
  print(explanation_text.text(found))
  for path in explanation.save(found, output):
    print(f'figure: {path}')
  record = output / f'{explanation.name(found)}.npz'
  print(f'record: {explanations.write(record, found)}')
  return 0


def coverage(words: list[str]) -> int:
  """Prints what lengths ask of a scheme that training never did."""
  from posexp import schemes
  from posexp.reports import tables
  from posexp.results import records

  (what,) = exactly(words, ['SCHEME or WORKDIR'], 'coverage')
  if pathlib.Path(what).is_dir():
    print(tables.coverage(records.coverage(what)))
    return 0
  from posexp.inspect import coverage as coverage_lib

  trained = FLAGS.trained and schemes.parse(FLAGS.trained)
  print(
    coverage_lib.text(
      schemes.parse(what),
      trained=trained,
      train_length=FLAGS.train_length,
      target=FLAGS.target,
      dims=schemes.Dims(
        FLAGS.heads * FLAGS.head_width, FLAGS.heads, FLAGS.head_width
      ),
    )
  )
  return 0


def list_schemes(words: list[str]) -> int:
  """Prints the catalogue of schemes, or all about one of them."""
  from posexp.inspect import listing

  if words:
    exactly(words, ['[NAME]'], 'schemes')
  print(listing.page(words[0]) if words else listing.table())
  return 0


def list_tasks(words: list[str]) -> int:
  """Prints the catalogue of tasks, or all about one of them."""
  from posexp.inspect import listing

  if words:
    exactly(words, ['[NAME]'], 'tasks')
  print(listing.task_page(words[0]) if words else listing.task_table())
  return 0

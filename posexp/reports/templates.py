"""The templates of this package, and what they are rendered with."""

import importlib.resources
import re
import textwrap
from collections.abc import Callable
from typing import Any

import jinja2

from posexp.reports import text_table


def template(
  name: str,
  finalize: Callable[[Any], Any] | None = None,
  *,
  autoescape: bool = True,
  **filters: Any,
) -> jinja2.Template:
  """Return a template whose values are text.

  Args:
    name: of the file in this package.
    finalize: what is done to each value; by default it is escaped as HTML.
    autoescape: whether what comes of it is markup, and is escaped no more.
    **filters: what the template can do to values, by name.
  """
  environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(read),
    autoescape=autoescape,
    finalize=finalize,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
  )
  environment.filters |= filters
  return environment.get_template(name)


def read(name: str) -> str:
  """Return the text of a file of this package."""
  package = importlib.resources.files('posexp.reports')
  return package.joinpath(name).read_text('utf-8')


def text(name: str, width: int = text_table.WIDTH, **values: Any) -> str:
  """Return a template as plain text for a terminal.

  Sentences go through its filter `wrap`; blank lines are one at most.

  Args:
    name: of the file in this package.
    width: of a line, in characters.
    **values: what the template names.
  """

  def wrap(sentence: str, first: str = '', others: str = '') -> str:
    words = ' '.join(sentence.split())
    return textwrap.fill(
      words, width, initial_indent=first, subsequent_indent=others
    )

  made = template(name, str, autoescape=False, wrap=wrap).render(values)
  return re.sub(r'\n{3,}', '\n\n', made).strip()

"""The templates of this package, and what they are rendered with."""

import importlib.resources
from collections.abc import Callable
from typing import Any

import jinja2


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

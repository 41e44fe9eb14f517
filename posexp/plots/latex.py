"""Tables for LaTeX, in the manner of booktabs, by pandas."""

from collections.abc import Iterable

import pandas as pd

# What a text may hold that LaTeX's usual fonts and pandas do not write.
_SIGNS = {
  '->': '→',  # First, as its parts are signs too.
  '→': r'$\rightarrow$',
  '−': '$-$',
  '±': r'$\pm$',
  '×': r'$\times$',
  '–': '--',
  '’': "'",
}


def table(
  numbers: pd.DataFrame,
  caption: str,
  label: str,
  comments: Iterable[str] = (),
) -> str:
  r"""A table environment with \toprule, \midrule and \bottomrule.

  Args:
    numbers: text and numbers as they are to be shown; its index is the first
      column.
    caption: what it shows, as plain text: what LaTeX reads as commands is
      escaped, here and in every cell.
    label: for \ref, written tab:label.
    comments: lines before it that LaTeX does not print.

  >>> print(table(pd.DataFrame({'at 64': ['50 %']}, ['a_b']), 'It.', 'x'))
  \begin{table}[t]
  \centering
  \caption{It.}
  \label{tab:x}
  \begin{tabular}{ll}
  \toprule
   & at 64 \\
  \midrule
  a\_b & 50 \% \\
  \bottomrule
  \end{tabular}
  \end{table}
  <BLANKLINE>
  """
  plain = pd.DataFrame({'': [caption]})
  said = plain.style.format(escape='latex').hide(axis='index')
  escaped = said.to_latex().split('\n')[2].removesuffix(r' \\')
  styled = numbers.style.format(escape='latex')
  for axis in (0, 1):
    styled = styled.format_index(escape='latex', axis=axis)
  text = styled.to_latex(
    hrules=True,
    position='t',
    position_float='centering',
    column_format='l' + 'l' * numbers.shape[1],
    caption=escaped,
    label=f'tab:{label}',
  )
  lines = [f'% {" ".join(line.split())}\n' for line in comments]
  for sign, written in _SIGNS.items():
    text = text.replace(sign, written)
  return ''.join(lines) + text

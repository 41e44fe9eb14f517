"""The table of heads, beside what the root run did at its trained length."""

import numpy as np
import pytest

from posexp.results import attention_records, records
from tests.recorded import A, B, outcomes, record

C = 'c' * 16


def row(length, bins, shift):
  """Two seeds (3 and 5), one layer, two heads: numbers that tell all apart."""
  heads = shift + np.arange(4.0).reshape(2, 1, 2)
  binned = heads[..., None] + np.arange(bins) / 10
  return {
    'length': length,
    'bins': (2 ** np.arange(bins)).tolist(),
    'known': [1] * bins,
    'heads': {'entropy': heads.tolist()},
    'binned': {'resolution': binned.tolist()},
  }


def write(workdir, digest, parent, *rows):
  made = record(digest=digest, parent_digest=parent, name=digest[0])
  if rows:
    made['diagnostics'] = list(rows)
  records.write(workdir, made, outcomes())


def test_values_and_those_of_the_root(tmp_path):
  write(tmp_path, A, None, row(8, 3, 100), row(16, 4, 200))
  write(tmp_path, B, A, row(8, 3, 300))
  write(tmp_path, C, B, row(16, 4, 400))
  table = attention_records.load(tmp_path)
  assert tuple(table.columns) == attention_records.COLUMNS
  # Of 4 heads: one number each, and one a bin.
  assert len(table) == 4 * ((1 + 3) + (1 + 4) + (1 + 3) + (1 + 4))

  def pick(*values):
    names = ['digest', 'length', 'seed', 'head', 'measure']
    return table[(table[names] == list(values)).all(axis=1)]

  found = pick(C, 16, 5, 1, 'entropy')
  assert found[['value', 'baseline']].values.tolist() == [[403.0, 103.0]]
  assert found['distance'].isna().all() and (found['layer'] == 0).all()
  found = pick(C, 16, 3, 1, 'resolution')
  assert found['distance'].tolist() == [1, 2, 4, 8]
  np.testing.assert_allclose(found['value'], [401, 401.1, 401.2, 401.3])
  np.testing.assert_allclose(found['baseline'], [101, 101.1, 101.2, np.nan])
  own = table[(table['digest'] == A) & (table['length'] == 8)]
  assert (own['value'] == own['baseline']).all()
  some = attention_records.load(tmp_path, [C, A, 'd' * 16])
  assert list(dict.fromkeys(some['digest'])) == [C, A]


def test_what_is_missing_is_not_a_number(tmp_path):
  lost = row(8, 3, 1.0)
  lost['heads']['entropy'][0][0][0] = float('nan')
  write(tmp_path, B, A, lost)
  table = attention_records.load(tmp_path)
  assert table['baseline'].isna().all()
  gone = table[table['value'].isna()]
  assert gone[['seed', 'head', 'measure']].values.tolist() == [
    [3, 0, 'entropy']
  ]


def test_records_without_diagnostics_have_no_rows(tmp_path):
  write(tmp_path, A, None)
  write(tmp_path, B, A, row(16, 4, 1.0))
  table = attention_records.load(tmp_path, [A])
  assert table.empty and tuple(table.columns) == attention_records.COLUMNS
  assert table.dtypes.equals(attention_records.load(tmp_path, [B]).dtypes)
  # The root has nothing to compare with either.
  assert attention_records.load(tmp_path, [B])['baseline'].isna().all()


def test_no_directory_is_one_sentence(tmp_path):
  with pytest.raises(ValueError, match=r'no work directory .*: give the one'):
    attention_records.load(tmp_path / 'nowhere')

"""A claim that a file system lost costs a computation and nothing else."""

import pytest

from posexp.launch import job, scheduler
from posexp.results import progress, records
from tests import recorded, small


def fails(record):
  raise FileNotFoundError('what the other process has removed')


@pytest.mark.parametrize('end', [lambda record: record, fails])
def test_who_finishes_second_keeps_the_record_of_the_first(
  tmp_path, monkeypatch, end
):
  """Another process has the claim, too, and finishes in the meantime."""
  run, asked = small.run(), []
  arrays = recorded.outcomes()

  def compute(*given):
    asked.append(given)
    first = recorded.record(digest=run.digest, name='of the first')
    records.write(tmp_path, first, arrays)
    second = recorded.record(digest=run.digest, name='of the second')
    more = {**arrays, '8/nats': arrays['8/nats'] + 1}
    return end((second, more))

  monkeypatch.setattr(job, 'compute', compute)
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    assert scheduler.execute(scheduler.Launch([run], tmp_path, tell)) == {}
  assert len(asked) == 1
  assert records.whole(tmp_path, run.digest)['name'] == 'of the first'
  nats = records.outcomes(tmp_path, run.digest)['nats']
  assert nats.tolist()[:8] == list(range(8))
  left = {path.name for path in (tmp_path / 'runs' / run.digest).iterdir()}
  assert len(left) == 3 and 'record.json' in left

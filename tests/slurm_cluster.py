"""A grid on a real SLURM, of this machine alone, that is started for it.

One of its jobs is requeued in mid-grid. Then every record, target and weight
is compared, bit for bit, with those of a grid that one process computed. Two
tasks of one job, which find each other through SLURM, compute a part of it too,
as two hosts would.

Needs root, and Debian's packages slurm-wlm and munge.

Command: python -m tests.slurm_cluster
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from posexp.launch import status
from posexp.results import records
from tests import crash

NEEDED = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'scontrol')
CONF = """
ClusterName=posexp
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
MinJobAge=300
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
# For the daemons to answer, and for a requeued job to run again, in seconds.
PATIENCE = 180.0


@contextlib.contextmanager
def cluster(folder: pathlib.Path) -> Iterator[None]:
  """A SLURM of one node, this machine, whose commands find it."""
  conf = folder / 'slurm.conf'
  host, cores = socket.gethostname().split('.')[0], os.cpu_count()
  conf.write_text(CONF.format(host=host, folder=folder, cores=cores))
  for name in ('state', 'spool'):
    (folder / name).mkdir()
  os.environ['SLURM_CONF'] = str(conf)
  key = pathlib.Path('/etc/munge/munge.key')
  if not key.exists():
    subprocess.run(['mungekey', '--create'], check=True)
  runs = pathlib.Path('/run/munge')
  runs.mkdir(exist_ok=True)
  daemons = []
  try:
    for words in (
      ['munged', '--foreground', '--force'],
      ['slurmctld', '-D', '-f', str(conf)],
      ['slurmd', '-D', '-f', str(conf)],
    ):
      daemons.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
      time.sleep(1.0)
    wait_for(lambda: 'idle' in told('sinfo', '-h', '-o', '%T'), 'an idle node')
    yield
  finally:
    for daemon in reversed(daemons):
      daemon.terminate()
      daemon.wait()


def told(*words: str) -> str:
  return subprocess.run(words, capture_output=True, text=True).stdout


def wait_for(done, what: str) -> None:
  until = time.monotonic() + PATIENCE
  while not done():
    if time.monotonic() > until:
      sys.exit(f'there was never {what}')
    time.sleep(0.2)


def hosts(file: pathlib.Path, workdir: pathlib.Path) -> None:
  """Some runs of a grid, each by two processes that SLURM starts."""
  command = [sys.executable, '-m', 'posexp', 'run', str(file), crash.ONLY]
  command += [f'--workdir={workdir}', '--coordinator=auto']
  subprocess.run(
    ['srun', '--ntasks=2', '--overcommit', *command], check=True, timeout=600
  )
  found = records.read_all(workdir)
  by = {record['device']['processes'] for record in found}
  if len(found) != 3 or by != {2}:
    sys.exit(f'{len(found)} runs by {by} processes, and not 3 by 2 each')
  print('3 runs, each by two processes of a SLURM job', flush=True)


def main() -> None:
  missing = [name for name in NEEDED if not shutil.which(name)]
  if missing or os.getuid():
    sys.exit(
      f"this needs root, and Debian's slurm-wlm and munge (missing: "
      f'{", ".join(missing) or "nothing but root"})'
    )
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    file = crash.grid(folder, steps=600)
    begun = time.monotonic()
    with cluster(folder):
      process = crash.command(
        file,
        folder / 'slurm',
        *('--executor=slurm', '--workers=2', '--slurm=cpus_per_task=1'),
        POSEXP_SLURM=str(folder / 'jobs'),
      )
      running = lambda: told(
        'squeue', '-h', '-r', '-t', 'R', '-o', '%i'
      ).split()
      at_work = lambda: [
        s
        for s in status.states(folder / 'slurm')
        if s.kind == status.RUNNING and s.said.get('share')
      ]
      wait_for(lambda: len(running()) == 2, 'an array of two jobs')
      wait_for(at_work, 'a run at work')
      victim = running()[0]
      subprocess.run(['scontrol', 'requeue', victim], check=True)
      wait_for(lambda: len(running()) < 2, 'a job that was requeued')
      print(f'job {victim} was requeued', flush=True)
      crash.finish(process)
      seconds = time.monotonic() - begun
      hosts(file, folder / 'hosts')
    crash.finish(crash.command(file, folder / 'whole'))
    wrong = [
      *crash.differences(folder / 'whole', folder / 'slurm'),
      *(f'stray file {name}' for name in crash.strays(folder / 'slurm')),
      *(f'finished twice: {name}' for name in crash.twice(folder / 'slurm')),
    ]
  print(
    f'12 runs by two SLURM jobs, one requeued: {len(wrong)} differences, stray '
    f'files and runs finished twice ({seconds:.0f} s)'
  )
  sys.exit('\n'.join(wrong) or 0)


if __name__ == '__main__':
  main()

"""Two processes of the toolkit's own launcher train as one process does."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from config_runs import ROOT, find, losses, run, toolkit_script

pytest.importorskip('mmseg')
pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason='needs gloo')
SECONDS = 120
CONFIG = """_base_ = [{base!r}]
model = dict(backbone=dict(arch=dict(embed_dims=24, num_layers=2, num_heads=2), tokenizer=dict(norm_eval=False)),
             decode_head=dict(in_channels=24))
train_dataloader = dict(batch_size={batch}, dataset=dict(data_root={data!r}, pipeline=[
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', reduce_zero_label=True), dict(type='PackSegInputs')]))
optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
param_scheduler = []
train_cfg = dict(max_iters=2)
val_cfg, val_dataloader, val_evaluator = None, None, None
test_cfg, test_dataloader, test_evaluator = None, None, None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, max_keep_ckpts=-1))
"""
# What a CPU needs: mmengine's launcher and its DDP wrapper ask for GPUs by themselves.
ON_CPU = """
custom_imports = dict(imports=['gloo_group'], allow_failed_imports=False)
custom_hooks = [dict(type='SynchronisedNorm')]
model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
"""


def write_config(folder: Path, batch: int, more: str = '') -> Path:
    path = folder / f'batch_{batch}.py'
    path.write_text(CONFIG.format(base=str(find('^dht-vit-toy_token-head')), batch=batch, data=str(folder / 'data')) + more)
    return path


def launch(folder: Path, config: Path, work_dir: Path) -> str:
    """The output of dist_train.sh with two processes."""
    work_dir.mkdir()
    environment = os.environ | dict(
        PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}', PORT=str(free_port()), GLOO_FOLDER=str(work_dir),
        PYTHONPATH=os.pathsep.join([str(ROOT / 'tests'), *filter(None, sys.path)]), PYTHONWARNINGS='ignore')
    command = ['bash', toolkit_script('mmseg', 'dist_train.sh'), config, '2', '--work-dir', work_dir]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as launcher:
        try:
            output, _ = launcher.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:  # the training processes have sessions of their own, and end with the one that started them
            os.killpg(launcher.pid, signal.SIGTERM)
            raise
    assert launcher.returncode == 0, output[-4000:]
    return output


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(('127.0.0.1', 0))
        return opened.getsockname()[1]


def test_two_processes_train_as_one(tmp_path: Path):
    run(tmp_path, ROOT / 'tools/demo/make_shapes_dataset.py', 'data', '--train', '8', '--val', '1', '--size', '48')
    one = run(tmp_path, toolkit_script('mmseg', 'train.py'), write_config(tmp_path, 8), '--work-dir', 'one')
    two = launch(tmp_path, write_config(tmp_path, 4, ON_CPU), tmp_path / 'two')
    assert len(losses(one)) == len(losses(two)) == 2
    for step in (1, 2):
        alone, shared = (torch.load(tmp_path / name / f'iter_{step}.pth', weights_only=True)['state_dict'] for name in ('one', 'two'))
        for name, value in alone.items():
            torch.testing.assert_close(shared[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f'{name}: {text}')

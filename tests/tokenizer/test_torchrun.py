"""Two processes of torchrun, each on a GPU of its own, train a tokenizer by mmengine's runner as one process does.

    torchrun --nproc_per_node 2 tests/tokenizer/test_torchrun.py FOLDER pytorch
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from two_processes import needs_two_gpus

pytest.importorskip('mmengine')
from mmengine.runner import Runner  # noqa: E402

from dht_mm.tokenizer import DHTTokenizer, TokenizerPretrainer  # noqa: E402

STEPS, BATCH, SECONDS = 2, 4, 200


class Images(Dataset):
    """Noise and blocks of two sizes in turn: other numbers of regions and levels in each process."""

    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        side = (1, 4)[index % 2]
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 32 // side, 32 // side, generator=generator)
        return dict(inputs=image.repeat_interleave(side, 1).repeat_interleave(side, 2))


def train(folder: Path, launcher: str) -> None:
    """Some steps on all images, from which every process takes its share; the first one writes the weights."""
    torch.manual_seed(0)
    processes = 1 if launcher == 'none' else 2
    runner = Runner(
        TokenizerPretrainer(DHTTokenizer(compactness=0.01)), str(folder), launcher=launcher, cfg=dict(sync_bn='torch'),
        train_dataloader=dict(batch_size=BATCH // processes, num_workers=0, dataset=Images(),
                              sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=False, max_iters=STEPS), optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)))
    model = runner.train()
    if runner.rank == 0:
        torch.save(getattr(model, 'module', model).state_dict(), folder / 'weights.pth')


def run(folder: Path, *program: str, launcher: str) -> dict[str, Tensor]:
    """The weights that a program leaves."""
    folder.mkdir()
    command = [sys.executable, '-W', 'ignore', *program, __file__, folder, launcher]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return torch.load(folder / 'weights.pth', map_location='cpu')


@needs_two_gpus
def test_two_gpus_train_as_one(tmp_path: Path):
    one = run(tmp_path / 'one', launcher='none')
    two = run(tmp_path / 'two', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', launcher='pytorch')
    torch.manual_seed(0)
    before = TokenizerPretrainer(DHTTokenizer(compactness=0.01)).state_dict()
    assert any((one[name] - value).abs().max() > 1e-3 for name, value in before.items())
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f'{name}: {text}')


if __name__ == '__main__':
    train(Path(sys.argv[1]), sys.argv[2])

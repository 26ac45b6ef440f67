"""Checkpoints of runs that are killed, fill their disk or read damaged files. Whole trainings: tests/tools/test_inject_faults.py."""

import errno
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from dht_mm.engine import IterationSeedHook, SafeCheckpointHook, whole_files
from dht_mm.engine.plain_types import from_plain, to_plain
from dht_mm.engine.whole_files import check_checkpoint, write_whole


class Model(BaseModel):
    """Half of its weights' gradients are dropped at random; data are drawn at random too."""

    def __init__(self, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(nn.functional.dropout(self.weight) - torch.stack(inputs)).square().sum()) if mode == 'loss' else [0]


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=index + torch.randn(4))


class Better(BaseMetric):
    """Draws numbers and finds the model better every time."""

    calls = 0

    def process(self, data_batch, data_samples):
        self.results.append(torch.rand(()))

    def compute_metrics(self, results):
        Better.calls += 1
        return dict(score=Better.calls)


def evaluation() -> dict:
    loader = dict(dataset=Data(), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=2)
    return dict(val_dataloader=loader, val_evaluator=[Better()], val_cfg=dict())


def train(folder: Path, epochs: int, model: nn.Module | None = None, hook: type = SafeCheckpointHook, by_epoch: bool = True,
          **settings) -> Runner:
    length = dict(max_epochs=epochs) if by_epoch else dict(max_iters=2 * epochs, val_interval=2)
    loader = dict(dataset=Data(), sampler=dict(type='DefaultSampler', shuffle=True), batch_size=2)
    runner = Runner(
        model or Model(), str(folder), train_dataloader=loader,
        train_cfg=dict(by_epoch=by_epoch, **length), optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        custom_hooks=[IterationSeedHook()], randomness=dict(seed=0), experiment_name=f'{folder}-{epochs}-{len(settings)}',
        default_hooks=dict(checkpoint=hook(interval=1, by_epoch=by_epoch, max_keep_ckpts=1, save_best='score', rule='greater')),
        **evaluation() | settings)
    runner.train()
    return runner


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix != '.py')


@pytest.mark.parametrize('by_epoch', [True, False])
def test_resumed_run_is_the_uninterrupted_one_and_its_log_goes_on(tmp_path: Path, by_epoch: bool):
    whole = train(tmp_path / 'whole', 4, by_epoch=by_epoch)
    train(tmp_path / 'part', 2, by_epoch=by_epoch)
    resumed = train(tmp_path / 'part', 4, by_epoch=by_epoch, resume=True)
    assert torch.equal(whole.model.weight, resumed.model.weight)
    for one, other in zip(*(runner.message_hub.get_scalar('train/loss').data for runner in (whole, resumed)), strict=True):
        assert (one == other).all() and len(one) == 8
    last = 'epoch_4.pth' if by_epoch else 'iter_8.pth'
    assert files(tmp_path / 'part') == [f'best_score_{last}', last, 'last_checkpoint']


def test_checkpoints_load_without_trust(tmp_path: Path):
    train(tmp_path, 1)
    for path in tmp_path.glob('*.pth'):
        with torch.serialization.safe_globals([]):
            checkpoint = torch.load(path, weights_only=True)
        assert {'state_dict', 'message_hub', 'meta'} <= checkpoint.keys()


def test_stock_hook_resumes_from_such_a_checkpoint(tmp_path: Path):
    train(tmp_path, 1)
    assert train(tmp_path, 2, hook=CheckpointHook, resume=True).iter == 4


@pytest.mark.parametrize('failing', ['os.replace', 'os.fsync'])
def test_failed_write_names_the_file_and_keeps_the_older_checkpoints(tmp_path: Path, monkeypatch, failing: str):
    train(tmp_path, 1)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    def fail(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match=r'No space left on device .*epoch_2\.pth'):
        train(tmp_path, 2, resume=True)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert whole_files.UNFINISHED not in files(tmp_path)


@pytest.mark.parametrize('use', ['resume', 'load_from', 'init_cfg'])
def test_damaged_checkpoint_is_named_before_anything_reads_it(tmp_path: Path, use: str):
    train(tmp_path, 1)
    path = tmp_path / 'epoch_1.pth'
    path.write_bytes(path.read_bytes()[:-100])
    model = Model(dict(type='Pretrained', checkpoint=str(path))) if use == 'init_cfg' else None
    settings = dict(resume=dict(resume=True), load_from=dict(load_from=str(path)), init_cfg={})[use]
    with pytest.raises(ValueError, match=r'epoch_1\.pth is damaged'):
        train(tmp_path if use == 'resume' else tmp_path / 'other', 2, model, **settings)


def test_every_cut_and_every_changed_byte_of_a_tensor_is_found(tmp_path: Path):
    path, cut = tmp_path / 'a.pth', tmp_path / 'cut.pth'
    torch.save(dict(weight=torch.full((64,), 7.0)), path)
    check_checkpoint(path)
    data = path.read_bytes()
    start = data.index(torch.full((64,), 7.0).numpy().tobytes())
    for length in range(0, len(data), 7):
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match='cut.pth'):
            check_checkpoint(cut)
    for place in range(start, start + 256, 5):
        cut.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
        with pytest.raises(ValueError, match='cut.pth is damaged'):
            check_checkpoint(cut)


def test_older_format_of_torch_is_accepted(tmp_path: Path):
    torch.save(dict(weight=torch.ones(3)), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    check_checkpoint(tmp_path / 'old.pth')


def test_file_is_replaced_whole(tmp_path: Path):
    write_whole(tmp_path / 'folder/file', b'old')
    write_whole(tmp_path / 'folder/file', b'new')
    assert (tmp_path / 'folder/file').read_bytes() == b'new' and files(tmp_path / 'folder') == ['file']


def test_plain_types_and_back():
    import numpy as np
    history = HistoryBuffer([1.5, 2.0], [1, 3], max_length=7)
    plain = to_plain(dict(hub=dict(loss=history, best=np.float64(3), map=np.arange(2)), meta=[(1, 'a'), None]))
    assert type(plain['hub']['best']) is float and plain['hub']['map'].tolist() == [0, 1] and plain['meta'] == [(1, 'a'), None]
    again = from_plain(plain)['hub']['loss']
    assert [values.tolist() for values in again.data] == [[1.5, 2.0], [1, 3]] and again.max_length == 7
    assert again.mean() == history.mean()

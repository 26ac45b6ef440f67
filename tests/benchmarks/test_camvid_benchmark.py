"""benchmarks/segmentation/camvid.py trains and scores on a made-up data set, and its cells of a grid are the plain ViT's patches."""

import copy
import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from dht_mm.backbones import DHTViT
from dht_mm.heads import TokenHead
from dht_mm.tokenizer import DHTTokenizer

FOLDER = Path(__file__).resolve().parents[2] / 'benchmarks/segmentation'
DIMS, DEPTH, PATCH = 64, 2, 14
SIZE = (44, 56)  # four pixels a cell of the grid of 154


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's files can be imported, also those that share a name with one of the tests', and are forgotten afterwards."""
    names = {path.stem for folder in (FOLDER, FOLDER.parent / 'experiments') for path in folder.glob('*.py')}
    monkeypatch.syspath_prepend(str(FOLDER.parent / 'experiments'))
    monkeypatch.syspath_prepend(str(FOLDER))
    others = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    yield
    for name in names:
        sys.modules.pop(name, None)
    sys.modules.update(others)


def plain_vit() -> dict[str, torch.Tensor]:
    """Random weights in DINOv2's layout."""
    shapes = {'cls_token': (1, 1, DIMS), 'pos_embed': (1, 1 + 25, DIMS), 'patch_embed.proj.weight': (DIMS, 3, PATCH, PATCH),
              'patch_embed.proj.bias': (DIMS,), 'norm.weight': (DIMS,), 'norm.bias': (DIMS,), 'mask_token': (1, DIMS)}
    for block in range(DEPTH):
        linears = {'attn.qkv': (3 * DIMS, DIMS), 'attn.proj': (DIMS, DIMS), 'mlp.fc1': (4 * DIMS, DIMS), 'mlp.fc2': (DIMS, 4 * DIMS)}
        names = {f'{name}.weight': shape for name, shape in linears.items()}
        names |= {f'{name}.bias': shape[:1] for name, shape in linears.items()}
        names |= {f'{name}.{leaf}': (DIMS,) for name in ('norm1', 'norm2') for leaf in ('weight', 'bias')}
        shapes |= {f'blocks.{block}.{name}': shape for name, shape in (names | {'ls1.gamma': (DIMS,), 'ls2.gamma': (DIMS,)}).items()}
    random = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=random) for name, shape in shapes.items()}


def pack(folder: Path) -> list[str]:
    """Options that name the packed files of three noisy images a split, halves of two classes."""
    from packing import pack_images, pack_weights

    random = np.random.default_rng(0)
    labels = np.where(np.arange(SIZE[1]) < SIZE[1] // 2, 0, 3).astype(np.uint8)[None].repeat(SIZE[0], 0)
    labels[:4] = 255
    pairs = [((labels[..., None] * 20 + random.integers(0, 100, (*SIZE, 3))).astype(np.uint8), labels) for _ in range(3)]
    pack_images(folder / 'data.npz', dict(train=pairs, val=pairs, test=pairs))
    pack_weights(folder / 'vit.npz', plain_vit())
    torch.save(DHTTokenizer().state_dict(), folder / 'tokenizer.pth')
    return [part for name, file in dict(data='data.npz', vit='vit.npz', tokenizer='tokenizer.pth').items()
            for part in (f'--{name}', str(folder / file))]


def test_runs_are_scored(tmp_path: Path, modules: None):
    variants = ['plain', 'grid:window:paint', 'spread:window+mask+stats+fine:sub2+mix+pixel:e2e', 'hard:box0.9:blend',
                'soft:cells:bilinear', 'spread:zoom+mask+fine:sub4+mix4', 'spread0.2:window+mask:sub4+mix4+pixel+texture:e2e',
                'exact0.1:zoom+stats:mix4', 'exact:zoom:paint',
                'spread:fit+whole:paint@decode-lr=3,eval-split=test', 'plain@colour=0,new-lr=10,crop=0.3',
                'hard:window:paint@loss=focal']
    options = [*pack(tmp_path), '--eval-split', 'val', '--devices', 'cpu', '--tokens', '154', '--epochs', '1', '--batch', '3',
               '--json', str(tmp_path / 'out.json')]
    command = [sys.executable, str(FOLDER / 'camvid.py'), *options, '--variants', *variants]
    printed = subprocess.run(command, cwd=FOLDER.parents[1], check=True, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert [row['variant'] for row in rows] == variants and all(f'| {name} | 154 | 0 |' in printed for name in variants)
    for row in rows:
        assert row['steps'] == 1 and np.isfinite(row['loss'])
        assert all(0 <= row[name] <= 100 for name in ('miou', 'trimap_1', 'trimap_3', 'trimap_5', 'boundary', 'oracle'))
        assert row['oracle'] >= row['miou'] - 1e-9 or 'mix' in row['variant'] or 'plain' in row['variant']
    assert [round(row['tokens']) for row in rows[:3]] == [154] * 3


def test_a_drive_is_held_out(tmp_path: Path, modules: None, monkeypatch: pytest.MonkeyPatch):
    import camvid
    from packing import load_images

    pack(tmp_path)
    options = dict(data=tmp_path / 'data.npz', vit=tmp_path / 'vit.npz', device='cpu', train_images=None, test_images=None)
    images, labels = load_images(options['data'], 'train', 'cpu')
    monkeypatch.setattr(camvid, 'DRIVES', {'0001TP': slice(0, 1), '0006R0': slice(1, 2), '0016E5': slice(2, 3)})
    runner = camvid.Runner(Namespace(**options))
    for drive, others in (('0001TP', [1, 2]), ('0006R0', [0, 2]), ('0016E5', [0, 1])):
        train, score = runner.data(drive)
        left = [index for index in range(3) if index not in others]
        for found, expected in zip((*train, *score), (images[others], labels[others], images[left], labels[left]), strict=True):
            assert torch.equal(found, expected)
    monkeypatch.setattr(camvid, 'DRIVES', {'0001TP': slice(0, 1), '0006R0': slice(1, 2), '0016E5': slice(2, 9)})
    with pytest.raises(SystemExit, match='to leave out a drive, but has 3'):
        camvid.Runner(Namespace(**options)).data('0001TP')


def test_options_of_a_name_are_checked(modules: None):
    from camvid import with_options

    args = Namespace(lr=1e-4, loss='pixel', eval_split='test')
    variant, options = with_options('hard:window:paint@lr=2e-4,loss=focal,eval-split=0001TP', args)
    assert variant.partition == 'hard' and (options.lr, options.loss, options.eval_split) == (2e-4, 'focal', '0001TP')
    for name, message in (('plain@loss=dice', "loss must be one of .* got 'dice'"), ('plain@eval-split=train', "got 'train'"),
                          ('plain@magic=1', "change one of .* got 'magic'")):
        with pytest.raises(ValueError, match=message):
            with_options(name, args)


def test_a_loss_of_regions_needs_painted_ones(tmp_path: Path, modules: None):
    from packing import load_weights
    from segmenter import Segmenter
    from variants import parse_variant

    pack(tmp_path)
    for name in ('plain', 'hard:window:mix4'):
        model = Segmenter(parse_variant(name), (11, 14), load_weights(tmp_path / 'vit.npz'), None, 5)
        with pytest.raises(ValueError, match='a loss of regions needs a partition and paint'):
            model.regions(torch.zeros(1, 3, *SIZE))


def test_unknown_variant_is_named(modules: None):
    from variants import parse_variant

    for name in ('magic', 'grid:window:magic', 'grid:window:paint:more:e2e', 'plain:window', 'grid+hard'):
        with pytest.raises(ValueError, match=re.escape(f'got {name!r}')):
            parse_variant(name)


def test_cells_of_a_grid_are_the_patches_of_the_plain_vit(tmp_path: Path, modules: None):
    from packing import load_weights
    from segmenter import Segmenter
    from variants import parse_variant

    pack(tmp_path)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    logits = {}
    for name in ('plain', 'grid:window:bilinear', 'grid:cells:bilinear', 'grid:window:sub3+mix+pixel'):
        torch.manual_seed(0)
        model = Segmenter(parse_variant(name), (11, 14), load_weights(tmp_path / 'vit.npz'), None, 5).eval()
        with torch.inference_mode():
            logits[name] = model(images)[0]
    for name in ('grid:window:bilinear', 'grid:cells:bilinear'):
        torch.testing.assert_close(logits[name], logits['plain'], atol=1e-4, rtol=1e-4)
    assert logits['grid:window:sub3+mix+pixel'].shape == logits['plain'].shape


def test_the_library_has_the_tokens_and_the_decode_that_are_measured(tmp_path: Path, modules: None):
    """`spread:window+mask+stats:sub4+mix4+pixel+texture` is `crop='window'` and `decode`, where the cells of the grid are squares."""
    from packing import load_weights
    from segmenter import Segmenter
    from variants import parse_variant

    pack(tmp_path)
    torch.manual_seed(0)
    grid, size = (11, 14), (88, 112)
    name = 'spread:window+mask+stats:sub4+mix4+pixel+texture:e2e'
    measured = Segmenter(parse_variant(name), grid, load_weights(tmp_path / 'vit.npz'), None, 5)
    for parameter in [*measured.content.parameters(), *measured.decode.parameters()]:
        torch.nn.init.normal_(parameter, std=0.1)
    backbone = DHTViT(
        copy.deepcopy(measured.backbone.tokenizer), dict(embed_dims=DIMS, num_layers=DEPTH, num_heads=1), patch_size=PATCH,
        out_type='tokens',
        features=dict(pos_grid=grid, crop='window', window_size=8))
    missing, _ = backbone.load_state_dict(measured.backbone.state_dict(), strict=False)
    assert missing == ['embedding.form_embed.weight']
    mask, stats = (measured.content.extras[name].weight for name in ('mask', 'stats'))
    backbone.embedding.form_embed.weight.data = torch.cat([mask, stats[:, [0, 1, 2, 3, 4, 5, 6, 7, 9, 8, 10]]], 1)  # by axis
    head = TokenHead(DIMS, 5, decode=dict(places=4, mix=4, texture=True))
    head.conv_seg, head.decode = measured.decode.classes, measured.decode.pixels
    images = torch.randn(2, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, size, mode='bicubic')
    expected, partition = measured.eval()(images)
    found = head.eval()(backbone.eval()(images))
    assert partition.num_regions.tolist() == [154, 154]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    ours, theirs = (dict(module.named_parameters()) for module in (backbone, measured.backbone))
    shared = [name for name in ours if name in theirs]
    for logits in (found, expected):
        logits.square().sum().backward()
    assert any(name.startswith('tokenizer') and theirs[name].grad is not None for name in shared)
    for name in shared:
        if theirs[name].grad is not None:
            scale = theirs[name].grad.abs().max().item()
            torch.testing.assert_close(ours[name].grad, theirs[name].grad, atol=1e-3 * scale, rtol=1e-3, msg=name)


def test_windows_of_a_grid_cover_it_and_those_that_fit_cover_more_of_regions(modules: None):
    from partitions import build_tokenizer
    from window_coverage import GRID, measure

    images = torch.randint(256, (1, 3, 180, 240), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = torch.zeros(1, 180, 240, dtype=torch.uint8)
    assert measure(build_tokenizer('grid', GRID), images, labels) == [100.0] * 7
    ceiling, *_, zoom_any, zoom_own, fit_any, fit_own = measure(build_tokenizer('hard', GRID).eval(), images, labels)
    assert ceiling == 100 and zoom_own < zoom_any < 100 and zoom_own < fit_own <= fit_any <= 100

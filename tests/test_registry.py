"""Configs of either toolkit find this package's classes by themselves, also where the other toolkit is missing."""

import subprocess
import sys

import pytest

BACKBONE = dict(
    type='dht_mm.DHTViT',
    arch=dict(embed_dims=32, num_layers=1, num_heads=2),
    tokenizer=dict(type='dht_mm.GridTokenizer', patch_size=8))
NECK = dict(type='dht_mm.TokenToPixel', in_channels=32)
HEAD = dict(type='dht_mm.TokenHead', in_channels=32, num_classes=3)
SEGMENTER = dict(type='EncoderDecoder', backbone={**BACKBONE, 'out_type': 'tokens'}, decode_head=HEAD)
CLASSIFIER = dict(type='ImageClassifier', backbone=BACKBONE, head=dict(type='LinearClsHead', num_classes=3, in_channels=32))
TOKENIZER = dict(type='dht_mm.TokenizerPretrainer', tokenizer=dict(type='dht_mm.DHTTokenizer'))

# Only the path finder finds toolkits, so one that does not see a package is the same as its not being installed.
HIDE = '''
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split('.')[0] in {hidden} else super().find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
'''
BUILD = '''
from mmengine.registry import init_default_scope
from {toolkit}.registry import MODELS
assert 'dht_mm.registry' not in sys.modules
init_default_scope('{toolkit}')
for config in {configs}:
    model = MODELS.build(config)
    print(type(model).__name__, {{type(module).__name__ for module in model.modules() if 'dht_mm' in type(module).__module__}})
'''


def run(code: str) -> subprocess.CompletedProcess:
    """Runs code in a new Python."""
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)


@pytest.mark.parametrize('toolkit, hidden, configs', [
    ('mmseg', (), [SEGMENTER, BACKBONE, TOKENIZER, NECK]),
    ('mmseg', ('mmpretrain', 'torchvision'), [SEGMENTER, BACKBONE, TOKENIZER, NECK]),
    ('mmpretrain', (), [CLASSIFIER, BACKBONE, TOKENIZER, NECK]),
    ('mmpretrain', ('mmseg',), [CLASSIFIER, BACKBONE, TOKENIZER, NECK]),
])
def test_prefix_imports_the_package_and_one_toolkit_is_enough(toolkit, hidden, configs):
    result = run(HIDE.format(hidden=hidden) + BUILD.format(toolkit=toolkit, configs=configs))
    assert result.returncode == 0, result.stderr
    built = [line.split(' ', 1) for line in result.stdout.splitlines()[-len(configs):]]
    for config, (name, modules) in zip(configs, built, strict=True):
        assert name == config['type'].removeprefix('dht_mm.')
        assert all(f"'{expected}'" in modules for expected in nested_types(config)), (config, modules)


def nested_types(config: dict) -> set[str]:
    """The classes of this package that a config names at any depth."""
    inner = [value for value in config.values() if isinstance(value, dict)]
    own = {config['type'].removeprefix('dht_mm.')} if str(config.get('type')).startswith('dht_mm.') else set()
    return own.union(*map(nested_types, inner))


def test_head_of_a_missing_toolkit_is_said_not_to_be_registered():
    result = run(HIDE.format(hidden=('mmseg',)) + f'from dht_mm.registry import MODELS\nMODELS.build({HEAD})')
    assert result.returncode == 1 and 'dht_mm.TokenHead is not in the' in result.stderr


def test_import_of_the_package_imports_neither_torch_nor_a_toolkit():
    result = run('import sys, dht_mm; print([name for name in ("torch", "mmengine", "mmseg") if name in sys.modules])')
    assert result.stdout == '[]\n'

"""What the metafiles and READMEs say about the configs is so, and mmpretrain knows the models by it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from config_runs import CONFIGS, ROOT
from mmengine.config import Config
from mmengine.registry import MODELS as REGISTRY
from mmengine.registry import DefaultScope

import dht_mm.model_zoo  # noqa: F401, registers the models

mmpretrain = pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')
modelindex = pytest.importorskip('modelindex.load_model_index')

INDEX = modelindex.load(str(ROOT / 'model-index.yml'))
MODELS = {model.name: model for model in INDEX.models}
FOLDERS = sorted({path.parent for path in (ROOT / 'configs/dht').glob('*/metafile.yml')})


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_metafile_and_readme_list_every_config(folder: Path):
    configs = {path.stem for path in folder.glob('*.py')}
    assert {name for name in configs if 'toy' not in name} == {
        name for name, model in MODELS.items() if Path(model.config).parent == folder.relative_to(ROOT)}
    readme = (folder / 'README.md').read_text()
    assert set(re.findall(r'\(([\w-]+)\.py\)', readme)) == configs
    assert all((folder / link).exists() for link in re.findall(r'\]\((?!http)([^)]+)\)', readme))


@pytest.mark.parametrize('name', MODELS)
def test_models_have_the_parameters_that_the_metafile_counts(name: str):
    model = MODELS[name]
    assert (ROOT / model.config).stem == name
    config = Config.fromfile(ROOT / model.config)
    with DefaultScope.overwrite_default_scope(config.default_scope), torch.device('meta'):
        built = REGISTRY.build({**config.model, 'data_preprocessor': config.get('data_preprocessor')})
    assert sum(value.numel() for value in built.parameters()) == model.metadata.parameters
    assert model.weights is None and model.results is None


def test_collections_have_their_files():
    for collection in INDEX.collections:
        assert (ROOT / collection.readme).is_file() and (ROOT / collection.code).is_file()


def test_every_model_is_found_by_pattern_but_those_of_mmsegmentation():
    names = {name for name, model in MODELS.items() if '/segmentation/' not in model.config}
    assert set(mmpretrain.list_models('dht-')) == names
    with torch.device('meta'):
        assert all(isinstance(mmpretrain.get_model(name), torch.nn.Module) for name in names)


def test_index_lists_every_config_that_has_a_metafile():
    assert {path.stem for path in CONFIGS if path.parent in FOLDERS and 'toy' not in path.stem} == set(MODELS)


def test_one_import_is_enough_and_options_reach_the_model():
    code = '''
import dht_mm.model_zoo
from mmpretrain import get_model
model = get_model('dht-vit-s_8xb64-100e_in1k-224px', backbone=dict(out_type='featmap', arch='medium'))
print(model.backbone.embed_dims, model.backbone.out_type)
'''
    result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == '512 featmap', result.stderr

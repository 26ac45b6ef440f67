"""The configs of docs/segmentation.md train and predict."""

import re
from pathlib import Path

import pytest
from config_pages import ROOT, build, configs_of, read, train_and_predict_segmenter
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

FILES = configs_of('docs/segmentation.md')


def test_every_python_block_of_the_page_is_a_config():
    blocks = (ROOT / 'docs/segmentation.md').read_text().count('```python')
    assert len(FILES) == blocks == 11 and {page.toolkit for page in FILES.values()} == {'mmsegmentation'}


@pytest.mark.parametrize('name', FILES)
def test_config_trains_predicts_and_is_scored(name: str, tmp_path: Path):
    config = read(name, FILES[name], tmp_path)
    results = train_and_predict_segmenter(build(config, 'mmseg'))
    with DefaultScope.overwrite_default_scope('mmseg'):
        evaluator = Evaluator(config.val_evaluator if isinstance(config.val_evaluator, list) else [config.val_evaluator])
    evaluator.dataset_meta = dict(classes=[str(label) for label in range(150)])
    evaluator.process(results, {})
    scores = evaluator.evaluate(len(results))
    assert 0 <= scores['mIoU'] <= 100
    if 'metrics' in name:
        logged = set(re.findall(r'`((?:boundary|trimap|regions)/\w+)`', (ROOT / 'docs/segmentation.md').read_text()))
        assert logged <= scores.keys() and scores['regions/oracle_mIoU'] > scores['mIoU']


@pytest.mark.parametrize('name', [name for name in FILES if 'neck=' in FILES[name].text and 'refined' not in name])
def test_necks_leave_heads_alone(name: str):
    assert 'head' not in FILES[name].text

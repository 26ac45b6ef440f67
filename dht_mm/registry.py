"""Child registries of mmengine's, so that ``type='dht_mm.…'`` finds this plugin from any toolkit's config.

``locations`` names the rooms, or their files, that hold registered classes; mmengine imports them at the first lookup. This file must
not import a room or a toolkit: mmengine swallows an ImportError raised here and reports the class as missing instead.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *rooms: str) -> Registry:
    return Registry(name, parent=parent, scope='dht_mm', locations=[f'dht_mm.{room}' for room in rooms])


MODELS = _child('model', MMENGINE_MODELS, 'tokenizer', 'backbones', 'necks', 'losses', 'heads', 'segmentors')
DATASETS = _child('dataset', MMENGINE_DATASETS, 'datasets')
TRANSFORMS = _child('transform', MMENGINE_TRANSFORMS, 'datasets')
METRICS = _child('metric', MMENGINE_METRICS, 'metrics')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optimizer wrapper constructor', MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
HOOKS = _child('hook', MMENGINE_HOOKS, 'engine', 'visualization.hook')
VISUALIZERS = _child('visualizer', MMENGINE_VISUALIZERS, 'visualization.region_visualizer')

"""Importing this module makes this project's models known to mmpretrain, by the names of their configs.

    import dht_mm.model_zoo
    from mmpretrain import get_model, list_models

    list_models('dht-vit')
    model = get_model('dht-vit-s_8xb64-100e_in1k-224px', pretrained=FILE)

Those for segmentation are not among them, since mmpretrain cannot build them: mmsegmentation takes the path of a config.
"""

from pathlib import Path

from mmpretrain.apis import ModelHub

INDEX = 'model-index.yml'
FAMILIES = ('tokenizer', 'classification', 'retrofit', 'evaluation')


def find_model_index() -> Path:
    """The index of the configs: in an installed package, or in the checkout that the package lies in.

    Raises:
        FileNotFoundError: There is none.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / '.mim', package.parent):
        if (folder / INDEX).is_file():
            return folder / INDEX
    raise FileNotFoundError(f'{INDEX} must lie in {package / ".mim"} or {package.parent}, but does in neither')


_folder = find_model_index().parent
for _family in FAMILIES:
    ModelHub.register_model_index(_folder / f'configs/dht/{_family}/metafile.yml', config_prefix=_folder)

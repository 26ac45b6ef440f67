"""Importing this module makes this project's models known to mmpretrain, by the names of their configs.

    import dht_mm.model_zoo
    from mmpretrain import get_model, list_models

    list_models('dht-vit')
    model = get_model('dht-vit-s_8xb64-100e_in1k-224px', pretrained=FILE)
"""

from pathlib import Path

from mmpretrain.apis import ModelHub

INDEX = 'model-index.yml'


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


_index = find_model_index()
ModelHub.register_model_index(_index, config_prefix=_index.parent)

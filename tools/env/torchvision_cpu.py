"""Lets a torchvision built for CUDA be imported beside a CPU build of torch.

torchvision's Python part attaches shape rules and gradients to operators that its compiled library declares. Where that library
cannot be loaded the import fails, although transforms and datasets never call those operators. This module declares their names,
at the first ``import torchvision`` and only under a CPU build of torch; calling one still fails. ``setup_env.py`` installs it,
with a ``.pth`` line that imports it at start-up, into an environment where torchvision does not import otherwise.
"""

import importlib.abc
import sys

_DIFFERENTIABLE = ('deform_conv2d', 'roi_align', 'roi_pool', 'ps_roi_align', 'ps_roi_pool')
_PLAIN = ('nms', 'qnms', 'qroi_align', 'image_size')
_library = None  # operators disappear with the object that declared them


def _declare_operators() -> None:
    global _library
    import torch
    if torch.version.cuda is not None or _library is not None:
        return
    _library = torch.library.Library('torchvision', 'DEF')
    for name in (*_PLAIN, *_DIFFERENTIABLE, *(f'_{name}_backward' for name in _DIFFERENTIABLE)):
        _library.define(f'{name}(Tensor x) -> Tensor')  # only the names are looked up, so any signature will do


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds nothing: it only notices that torchvision is about to be imported."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == 'torchvision':
            sys.meta_path.remove(self)
            _declare_operators()
        return None


sys.meta_path.insert(0, _BeforeTorchvision())

"""Learning rates that fall from layer to layer towards the input, for any toolkit and backbone."""

from collections.abc import Iterator
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from dht_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give the layers of a backbone learning rates that decay with their distance from its end.

    A parameter of depth ``i`` out of ``n`` gets ``lr * layer_decay_rate ** (n - 1 - i)``. Depths come from the model's
    ``get_layer_depth(param_name)`` or, where it has none, as in mmsegmentation, from ``get_layer_depth(param_name, prefix)`` of
    each part that has one; parameters outside of them (neck, head) keep the full rate. So it works for every backbone with that
    method, among them mmpretrain's own, and not by the name of its class.

    ``paramwise_cfg`` takes ``layer_decay_rate`` in (0, 1] beside everything that mmengine's default constructor knows. This
    leaves norms, biases, layer scales, positions, class and register tokens without weight decay::

        optim_wrapper = dict(
            constructor='dht_mm.LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-5, weight_decay=0.05),
            paramwise_cfg=dict(
                layer_decay_rate=0.9, norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.,
                custom_keys={'.cls_token': dict(decay_mult=0.), '.register_tokens': dict(decay_mult=0.),
                             '.pos_embed': dict(decay_mult=0.)}))

    Parameters with the same settings share a group of the optimizer, so that its fused kernels see few and long lists.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper; the optimizer must have ``lr``.
        paramwise_cfg: See above.

    Raises:
        ValueError: ``layer_decay_rate`` or ``lr`` is missing or out of its range, or no part of the model knows its layers' depths.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise ValueError(f'layer_decay_rate of paramwise_cfg must be in (0, 1], got {rate!r}')
        if self.base_lr is None:
            raise ValueError('optimizer must set lr for its layers to have a part of it, got None')
        self.layer_decay_rate = rate

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: bool | None = None) -> None:
        """Add the parameters of a module, and of the modules below it, with the settings of each."""
        super().add_params(params, module, prefix, is_dcn_module)
        if prefix:
            return
        scales = self._scales(module)
        for group in params:
            group['lr'] = (group['lr'] if 'lr' in group else self.base_lr) * scales[group['params'][0]]
        params[:] = _merge(params)

    def _scales(self, model: nn.Module) -> dict[nn.Parameter, float]:
        """Share of the learning rate that each parameter gets."""
        scales = dict.fromkeys(model.parameters(), 1.0)
        parts = list(_layered_parts(model))
        if not parts:
            raise ValueError(f'model must have get_layer_depth, or a part that has, got a {type(model).__name__} without')
        for prefix, part in parts:
            for name, parameter in part.named_parameters():
                depth, depths = part.get_layer_depth(f'{prefix}{name}', *filter(None, [prefix]))
                scales[parameter] = self.layer_decay_rate**(depths - 1 - depth)
        return scales


def _layered_parts(module: nn.Module, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """The outermost modules that know the depth of their parameters, and what stands before their parameters' names."""
    if hasattr(module, 'get_layer_depth'):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _layered_parts(child, f'{prefix}{name}.')


def _merge(groups: list[dict]) -> list[dict]:
    """One group for all parameters of the same settings, in the order of their first ones."""
    merged: dict[str, dict] = {}
    for group in groups:
        settings = {key: value for key, value in group.items() if key != 'params'}
        same = merged.setdefault(repr(sorted(settings.items())), dict(settings, params=[]))
        same['params'] += group['params']
    return list(merged.values())

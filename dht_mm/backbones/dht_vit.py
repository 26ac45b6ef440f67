"""The vision transformer on regions: tokenizer, features, embedding and encoder wired together."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dht_mm.embedding import RegionEmbedding, resize_positions, sequence_offsets, split
from dht_mm.encoder import Encoder, TokenLayout, half_weights
from dht_mm.features import RegionFeatures
from dht_mm.ops.checks import check_positive
from dht_mm.registry import MODELS
from dht_mm.structures import Partition, RegionTokens
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer, QuadtreeTokenizer, SLICTokenizer, mean_shift

from .arch import get_arch
from .cuda_graph import CUDAGraphs
from .options import as_pair, norm_eps, resolve_indices
from .outputs import feature_map, pixel_mean, raw, without_spare

MEAN_PIXEL_TOKENIZERS = (GridTokenizer, QuadtreeTokenizer, SLICTokenizer)  # nothing to inject: regions have their pixels' mean
OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap', 'tokens')


@MODELS.register_module()
class DHTViT(BaseModule):
    """Vision transformer whose tokens are the regions of a tokenizer (paper section 3; Dosovitskiy et al., 2021).

    Takes the place of mmpretrain's ``VisionTransformer`` and shares its arguments where they mean something here. With a
    ``GridTokenizer`` of the same patch size it computes what that plain ViT does. Weights for another position grid are resampled
    when they are loaded, see :meth:`resize_loaded_positions`.

    Args:
        tokenizer: The tokenizer or its config. None is a :class:`DHTTokenizer` at its defaults.
        arch: ``'small'``, ``'medium'``, ``'base'``, ``'large'`` or ``'huge'``, the first letter of one, or a dict with
            ``embed_dims``, ``num_layers``, ``num_heads`` and, unless four times ``embed_dims``, ``feedforward_channels``.
        img_size: Usual size of the images, one number or ``(H, W)``; it only sets the default of ``pos_grid``.
        patch_size: Side to which the boxes of regions are resampled, and stride of feature maps.
        in_channels: Channels of the images.
        out_indices: Block or blocks to output, negative ones counted from the end.
        out_type: What to output of each of them:

            - ``'raw'``: class token, then regions, zero-padded to the longest image, ``[B, 1 + R_max, D]``, or to ``max_regions``
              where the partition tells it.
            - ``'cls_token'``: ``[B, D]``.
            - ``'featmap'``: ``[B, D, ceil(H / patch_size), ceil(W / patch_size)]``, the mean over the pixels of each cell.
            - ``'avg_featmap'``: ``[B, D]``, the mean over all pixels, normalised by a norm of its own.
            - ``'tokens'``: one :class:`RegionTokens` instead of a tuple, for token heads.
        with_cls_token: Whether images have a class token.
        num_register_tokens: Register tokens of an image; they are in no output.
        pre_norm: Whether to normalise the tokens before the first block.
        frozen_stages: If positive, the tokenizer, the embedding and this many blocks are not trained; if that is all blocks,
            neither are the norms after them.
        norm_eval: Whether all batch norm, which the tokenizer alone has, uses its running statistics in training too.
        norm_cfg: The layer norms, ``dict(type='LN', eps=1e-6)`` by default.
        features: Options of the region features: ``pos_grid`` (one number or ``(y, x)``; default ``img_size / patch_size``,
            rounded up), ``pos_scale`` (default: the grid's side), ``gradient`` (default False), ``gradient_curve``, ``crop`` (``'box'``;
            ``'window'`` for tokens that see a window in the middle of their region) and ``window_size`` (see :class:`RegionFeatures`), and
            ``inject_mean``, whether pixels carry the gradient to the tokenizer (default True; False with a tokenizer that predicts no
            colours: ``GridTokenizer``, ``QuadtreeTokenizer``, ``SLICTokenizer``).
        cuda_graph: Whether to record forward and backward as CUDA graphs at the first batch of each shape and mode, and to replay them
            from then on, which spares the host nearly all its work. It needs a tokenizer of fixed ``capacity``; each backward must follow
            its forward before the next one of that shape; hooks of parts run at recording only. On a CPU it changes nothing.
        init_cfg: Initialisation of mmengine, for instance ``dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')``.
        **encoder: Options of the encoder: ``drop_path_rate`` (default: that of ``arch``), ``final_norm`` (True), ``qkv_bias``
            (True), ``qk_norm`` (False), ``layer_scale_init_value`` (0.1; 0 for none), ``ffn_type`` (``'mlp'``; ``'swiglu'`` for
            DINOv2-g), ``with_cp`` (False; True saves memory by computing blocks twice), ``compile_blocks`` (False; True runs the
            blocks through ``torch.compile``).

    Attributes:
        embed_dims: Dimensions of a token, D.
        num_layers: Blocks.
        out_indices: Blocks to output, counted from 0.

    Raises:
        TypeError: An option is unknown.
        ValueError: An argument is out of its range.
    """

    def __init__(self, tokenizer: dict | nn.Module | None = None, arch: str | dict = 'base', img_size: int | Sequence[int] = 224,
                 patch_size: int = 16, in_channels: int = 3, out_indices: int | Sequence[int] = -1, out_type: str = 'cls_token',
                 with_cls_token: bool = True, num_register_tokens: int = 0, pre_norm: bool = False, frozen_stages: int = -1,
                 norm_eval: bool = False, norm_cfg: dict | None = None, features: dict | None = None,
                 cuda_graph: bool = False, init_cfg: dict | list[dict] | None = None, **encoder: float | bool | str):
        super().__init__(init_cfg)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type must be one of {OUT_TYPES}, got {out_type!r}')
        if out_type == 'cls_token' and not with_cls_token:
            raise ValueError("out_type='cls_token' needs with_cls_token=True, got False")
        check_positive(patch_size=patch_size, in_channels=in_channels)
        capacity, eps = get_arch(arch), norm_eps(norm_cfg)
        self.embed_dims, self.num_layers = capacity.embed_dims, capacity.num_layers
        if frozen_stages > self.num_layers:
            raise ValueError(f'frozen_stages must be at most the {self.num_layers} blocks, got {frozen_stages}')
        self.patch_size, self.out_type = patch_size, out_type
        self.out_indices = resolve_indices(out_indices, self.num_layers)
        self.tokenizer = self._build_tokenizer(tokenizer, in_channels)
        self._graphs = CUDAGraphs(_with_half_weights) if cuda_graph else None
        if cuda_graph and getattr(self.tokenizer, 'capacity', None) is None:
            raise ValueError('cuda_graph must be False with a tokenizer that has no fixed capacity, got True')
        if cuda_graph and encoder.get('with_cp'):
            raise ValueError('cuda_graph must be False with with_cp=True, got True')
        options = dict(pos_grid=tuple(-(-side // patch_size) for side in as_pair('img_size', img_size))) | (features or {})
        self.inject_mean = options.pop('inject_mean', not isinstance(self.tokenizer, MEAN_PIXEL_TOKENIZERS))
        self.features = RegionFeatures(in_channels, patch_size, **options)
        self.embedding = RegionEmbedding(self.features.dims, self.embed_dims, with_cls_token, num_register_tokens, pre_norm, eps)
        self.encoder = Encoder(*capacity[:4], norm_eps=eps, **dict(drop_path_rate=capacity.drop_path_rate) | encoder)
        self.avg_norm = nn.LayerNorm(self.embed_dims, eps) if out_type == 'avg_featmap' else None
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.register_load_state_dict_pre_hook(DHTViT.resize_loaded_positions)
        for module in self._frozen_modules():
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | RegionTokens:
        """Tokenize images and encode their regions.

        Args:
            x: ``[B, C, H, W]`` float, normalised; any H, W >= 1.

        Returns:
            What ``out_type`` says, one for each of ``out_indices`` in their order.

        Raises:
            TypeError: Images are not floating point.
            ValueError: Images are empty, not finite or of another number of channels.
            RuntimeError: In a backward with ``cuda_graph``: another forward of the same shape came between.
        """
        outputs = self._forward(x) if self._graphs is None else self._graphs(self._forward, self, x)
        return outputs._replace(images=x) if isinstance(outputs, RegionTokens) else outputs  # here, so that no graph copies them

    def _forward(self, x: Tensor) -> tuple[Tensor, ...] | RegionTokens:
        partition = self.tokenizer(x)
        layout = self._layout(partition)
        x = x.to(self.embedding.patch_embed.weight.dtype)  # mixed-precision pipelines can hand over half precision
        shift = mean_shift(x, partition) if self.inject_mean else None
        windows = self.features.find_windows(partition)
        tokens = self.embedding(self.features(x, partition, shift, windows), partition)
        if self.out_type == 'cls_token':
            outputs = self.encoder(tokens, layout, self.out_indices, rows=layout.offsets[:-1].long())
            return tuple(outputs[index] for index in self.out_indices)
        outputs = self.encoder(tokens, layout, self.out_indices)
        blocks = [split(outputs[index], partition, self.embedding.num_prefix) for index in self.out_indices]
        num_cls = 0 if self.embedding.cls_token is None else 1
        blocks = [(prefix[:, :num_cls], regions) for prefix, regions in blocks]
        if self.out_type == 'tokens':
            cls_tokens = tuple(cls_token[:, 0] for cls_token, _ in blocks) if num_cls else ()
            tokens = tuple(without_spare(regions, partition) for _, regions in blocks)
            return RegionTokens(tokens, cls_tokens, partition, boxes=None if windows is None else windows.boxes)
        return tuple(self._format(cls_token, regions, partition) for cls_token, regions in blocks)

    def _layout(self, partition: Partition) -> TokenLayout:
        num_prefix, most = self.embedding.num_prefix, partition.max_regions
        total = partition.total_regions + num_prefix * len(partition)
        return TokenLayout(sequence_offsets(partition, num_prefix), total, None if most is None else most + num_prefix)

    def _format(self, cls_token: Tensor, regions: Tensor, partition: Partition) -> Tensor:
        """One block's ``[B, 0 or 1, D]`` class tokens and ``[R, D]`` regions as the tensor that ``out_type`` asks for."""
        if self.out_type == 'raw':
            return raw(cls_token, regions, partition)
        if self.out_type == 'featmap':
            return feature_map(regions, partition, self.patch_size)
        return self.avg_norm(pixel_mean(regions, partition))

    def train(self, mode: bool = True) -> 'DHTViT':
        """Set the mode; what is frozen stays in evaluation, and batch norm where ``norm_eval`` asks for it."""
        super().train(mode)
        batch_norms = [module for module in self.modules() if isinstance(module, _BatchNorm)] if self.norm_eval else []
        for module in [*self._frozen_modules(), *batch_norms]:
            module.eval()
        return self

    def resize_loaded_positions(self, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """Resample position weights that come from another grid, before they are loaded.

        Weights do not tell the shape of their grid: another number of cells is taken to be a square grid. They do not tell
        ``pos_scale`` either: it is taken to be the side of that grid where it is the default here, else the same as here.

        Args:
            state_dict: The weights to be loaded; changed in place.
            prefix: What stands before this backbone's own names in it.

        Raises:
            ValueError: The grid is another one and not square.
        """
        key, position = f'{prefix}embedding.pos_embed.weight', self.features.position
        weight = state_dict.get(key)
        if weight is None or weight.dim() != 2 or weight.shape[1] == position.dims:
            return
        side = math.isqrt(weight.shape[1])
        if side**2 != weight.shape[1]:
            raise ValueError(f'{key} must hold {position.grid[0]} x {position.grid[1]} cells or those of a square grid to resample, '
                             f'got {weight.shape[1]}')
        print_log(f'{key}: resampled from {side} x {side} to {position.grid[0]} x {position.grid[1]} cells', 'current')
        scale = position.scale / side if position.scale == math.sqrt(position.dims) else 1.0
        state_dict[key] = resize_positions(weight, (side, side), position.grid) * scale**2

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning rates.

        Args:
            param_name: Name of the parameter in the model that holds this backbone.
            prefix: What stands before this backbone's own names in it.

        Returns:
            The depth (0 for the tokenizer and the embedding, ``i + 1`` for block ``i``, ``num_layers + 1`` for all after them and for
            the embedding's ``form_embed``, which no plain ViT has) and the number of depths, ``num_layers + 2``.
        """
        depths = self.num_layers + 2
        if param_name.startswith(prefix):
            room, *rest = param_name[len(prefix):].split('.')
            if room in ('tokenizer', 'features', 'embedding') and rest[:1] != ['form_embed']:
                return 0, depths
            if room == 'encoder' and rest[0] == 'blocks':
                return int(rest[1]) + 1, depths
        return depths - 1, depths

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 1:
            return []
        frozen = [self.tokenizer, self.features, self.embedding, *self.encoder.blocks[:self.frozen_stages]]
        if self.frozen_stages >= self.num_layers:
            frozen += [self.encoder.norm] if self.avg_norm is None else [self.encoder.norm, self.avg_norm]
        return frozen

    @staticmethod
    def _build_tokenizer(tokenizer: dict | nn.Module | None, in_channels: int) -> nn.Module:
        if tokenizer is None:
            return DHTTokenizer(in_channels)
        return tokenizer if isinstance(tokenizer, nn.Module) else MODELS.build(tokenizer)


def _with_half_weights(model: DHTViT) -> AbstractContextManager:
    return half_weights(model.encoder.blocks)

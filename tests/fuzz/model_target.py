"""Random configs: each builds a model that gives finite numbers and gradients, or is refused by a message about an option."""

from collections.abc import Callable

import torch
from draws import Draws, choice, draw_images, one_in, subset
from refusals import refused
from torch import Tensor

from dht_mm.backbones.dht_vit import DHTViT
from dht_mm.structures import RegionTokens

JUNK = (None, -1, 0, 2, 0.5, 'x', True, (), [1], {})
BACKBONE = dict(
    out_type=('cls_token', 'raw', 'featmap', 'avg_featmap', 'tokens'), out_indices=(-1, 0, (0, 1), (1, 0), [-2]), patch_size=(4, 16, 1, 3),
    img_size=(16, 7, (8, 12)), with_cls_token=(True, False), num_register_tokens=(0, 1, 4), pre_norm=(False, True),
    frozen_stages=(-1, 0, 1, 2), norm_eval=(False, True), norm_cfg=(None, dict(type='LN', eps=1e-5)), final_norm=(True, False),
    qkv_bias=(True, False), qk_norm=(False, True), layer_scale_init_value=(0.1, 0.0, 1e-5), ffn_type=('mlp', 'swiglu'),
    with_cp=(False, True), drop_path_rate=(0.0, 0.5))
FEATURES = dict(pos_grid=(3, (2, 5), 1), pos_scale=(None, 2.0), gradient=(False, True), gradient_curve=((0.0, 0.0), (1.0, -1.0)),
                inject_mean=(True, False))
TOKENIZER = dict(
    kernel=('gaussian', 'cosine', 'tanimoto'), compactness=(0.1, 0.0), criterion=('aicc', 'aic', 'bic', 'cic'), iota=(5.0, 0.5),
    min_regions=(6, 1), hidden_channels=(8, 2), norm_eval=(False, True),
    token_budget=(None, dict(mode='soft'), dict(mode='hard', train=3, test=2), dict(mode='hard'), dict(mode='hard', spread=0.1)))
OTHER_TOKENIZERS = (
    dict(type='dht_mm.GridTokenizer', patch_size=5), dict(type='dht_mm.QuadtreeTokenizer', num_regions=7),
    dict(type='dht_mm.SLICTokenizer', num_regions=6))
HEAD = dict(classifier=('linear', 'mlp'), concat_last=(1, 2), loss_image=(None, dict(type='dht_mm.ImageBCELoss')), dropout_ratio=(0.0, 0.5),
            loss_decode=(None, dict(type='dht_mm.RegionCrossEntropyLoss'), dict(type='CrossEntropyLoss')), in_index=(-1, 0),
            ignore_index=(255, 0))
NECK = dict(strides=((4, 8, 16, 32), (1,), (2, 3)), out_channels=(None, 4, (None, 5), (3,)))


def draw_backbone(draws: Draws) -> dict:
    """Options of a small backbone, one in three times with one spoiled."""
    options = subset(draws, BACKBONE)
    if one_in(draws, 2):
        options['features'] = subset(draws, FEATURES)
    tokenizer = dict(type='dht_mm.DHTTokenizer', **subset(draws, TOKENIZER))
    options['tokenizer'] = dict(choice(draws, (tokenizer, tokenizer, *OTHER_TOKENIZERS)))
    arch = dict(embed_dims=8, num_layers=2, num_heads=choice(draws, (2, 1, 4)))
    spoil(draws, choice(draws, (options, arch, options['tokenizer'], options.get('features', options))))
    return dict(options, arch=arch)


def spoil(draws: Draws, options: dict) -> None:
    names = [name for name in options if name != 'type']
    if names and one_in(draws, 3):
        options[choice(draws, names)] = choice(draws, JUNK)


def model_target(draws: Draws) -> int:
    """One case: a backbone, and behind its tokens a head or a neck."""
    options = draw_backbone(draws)
    try:
        run(draws, options)
    except AssertionError as error:
        raise AssertionError(f'{options}: {error}') from error
    return 1


def run(draws: Draws, options: dict) -> None:
    made, found = [], []
    images = draw_images(draws, most_pixels=150)[:2].float().clamp(-10, 10)
    mode = one_in(draws, 2)
    if refused(lambda: made.append(DHTViT(**options))):
        return
    model = made[0].train(mode)
    if refused(lambda: found.append(model(images))):
        raise AssertionError('a model that was built refuses valid images')
    output, = found
    if isinstance(output, RegionTokens):
        check_finite([*output.tokens, *output.cls_tokens])
        output = choice(draws, (through_head, through_neck))(draws, output) or output.tokens
    check_finite(output)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = sum((x.double() * torch.linspace(-1, 1, x.numel()).view(x.shape)).sum() for x in output)
    if total.requires_grad and parameters:
        check_finite(grad for grad in torch.autograd.grad(total, parameters, allow_unused=True) if grad is not None)


def through_head(draws: Draws, tokens: RegionTokens) -> list[Tensor]:
    """The losses of a random head; nothing if its options are refused."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    from dht_mm.heads.token_head import TokenHead

    options = subset(draws, HEAD)
    spoil(draws, options)
    made = build(lambda: TokenHead(in_channels=8, num_classes=4, **options))
    samples = []
    for labels in tokens.partition.labels:
        classes = torch.where(labels % 5 == 4, 255, labels % 5).long()
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=classes[None])))
    losses = build(lambda: made[0].loss(tokens, samples, {})) if made else []
    return [loss for name, loss in losses[0].items() if name.startswith('loss')] if losses else []


def through_neck(draws: Draws, tokens: RegionTokens) -> list[Tensor]:
    """The maps of a random neck; nothing if its options are refused."""
    from dht_mm.necks import TokenToPixel

    options = subset(draws, NECK)
    spoil(draws, options)
    made = build(lambda: TokenToPixel(in_channels=8, **options))
    maps = build(lambda: made[0](tokens)) if made else []
    return [*maps[0]] if maps else []


def build(call: Callable[[], object]) -> list:
    """What the call gives, in a list; empty if it is refused."""
    made = []
    refused(lambda: made.append(call()))
    return made


def check_finite(tensors) -> None:
    assert all(tensor.isfinite().all() for tensor in tensors), 'a number is not finite'

"""The backbone: its forms of output, its arguments, and what it promises about batches, sizes and training."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn

from dht_mm.backbones import ARCHS, DHTViT, get_arch
from dht_mm.registry import MODELS
from dht_mm.structures import RegionTokens
from dht_mm.tokenizer import DHTTokenizer, GridTokenizer

TINY = dict(embed_dims=16, num_layers=3, num_heads=2)
WINDOW = dict(crop='window', window_size=5.5)
OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap', 'tokens')


def make_model(**options) -> DHTViT:
    torch.manual_seed(0)
    options = dict(arch=TINY, img_size=32, patch_size=8) | options
    model = DHTViT(**options)
    for parameter in model.encoder.parameters():  # else the blocks change next to nothing
        nn.init.normal_(parameter, std=0.3)
    if model.embedding.form_embed is not None:  # zero at first
        nn.init.normal_(model.embedding.form_embed.weight, std=0.1)
    return model


def draw_images(batch: int = 2, height: int = 24, width: int = 20, channels: int = 3) -> Tensor:
    """Blocks of colours with noise."""
    generator = torch.Generator().manual_seed(batch)
    blocks = torch.randn(batch, channels, -(-height // 6), -(-width // 6), generator=generator)
    images = blocks.repeat_interleave(6, 2).repeat_interleave(6, 3)[:, :, :height, :width]
    return images + 0.05 * torch.randn(images.shape, generator=generator)


@torch.no_grad()
def test_shapes_of_all_outputs():
    images = draw_images()
    partition = make_model().eval().tokenizer(images)
    longest = int(partition.num_regions.max())
    assert partition.num_regions[0] != partition.num_regions[1]
    expected = dict(raw=(2, 1 + longest, 16), cls_token=(2, 16), featmap=(2, 16, 3, 3), avg_featmap=(2, 16))
    for out_type, shape in expected.items():
        outputs = make_model(out_type=out_type, out_indices=(0, 2)).eval()(images)
        assert isinstance(outputs, tuple) and [output.shape for output in outputs] == [shape, shape]
    tokens = make_model(out_type='tokens', out_indices=(0, 2)).eval()(images)
    assert isinstance(tokens, RegionTokens) and torch.equal(tokens.partition.labels, partition.labels)
    assert [token.shape for token in tokens.tokens] == [(partition.total_regions, 16)] * 2
    assert [token.shape for token in tokens.cls_tokens] == [(2, 16)] * 2


@torch.no_grad()
def test_outputs_are_forms_of_the_same_tokens():
    images = draw_images()
    (regions,), (cls_token,), partition, *_ = make_model(out_type='tokens').eval()(images)
    raw, = make_model(out_type='raw').eval()(images)
    for image, count in enumerate(partition.num_regions.tolist()):
        assert torch.equal(raw[image, 0], cls_token[image])
        assert torch.equal(raw[image, 1:count + 1], regions[partition.offsets[image]:partition.offsets[image + 1]])
        assert not raw[image, count + 1:].any()
    assert torch.allclose(make_model().eval()(images)[0], cls_token, atol=1e-6)  # the last block computes nothing else
    painted = partition.scatter(regions)
    cells = nn.functional.avg_pool2d(painted, 8, ceil_mode=True, count_include_pad=False)
    assert torch.allclose(make_model(out_type='featmap').eval()(images)[0], cells, atol=1e-5)
    average = make_model(out_type='avg_featmap').eval()
    assert torch.allclose(average(images)[0], average.avg_norm(painted.mean((2, 3))), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('with_cls_token', [True, False])
def test_register_tokens_are_attended_to_and_not_returned(with_cls_token: bool):
    images = draw_images()
    model = make_model(out_type='raw', with_cls_token=with_cls_token, num_register_tokens=4).eval()
    tokens = make_model(out_type='tokens', with_cls_token=with_cls_token, num_register_tokens=4).eval()(images)
    assert model.embedding.register_tokens.shape == (4, 16) and len(tokens.cls_tokens) == with_cls_token
    before, = model(images)
    assert before.shape == (2, with_cls_token + int(tokens.partition.num_regions.max()), 16)
    assert torch.equal(before[0, with_cls_token:with_cls_token + 2], tokens.tokens[0][:2])
    nn.init.normal_(model.embedding.register_tokens)
    assert not torch.allclose(model(images)[0], before, atol=1e-3)


@torch.no_grad()
def test_out_indices_count_from_the_end_and_keep_their_order():
    images = draw_images()
    first, last = make_model(out_indices=(0, 2)).eval()(images)
    other_last, other_first = make_model(out_indices=[-1, -3]).eval()(images)
    assert torch.equal(first, other_first) and torch.equal(last, other_last) and not torch.equal(first, last)
    assert torch.equal(make_model(out_indices=2).eval()(images)[0], last)
    assert make_model(out_indices=-2).out_indices == (1,)


@pytest.mark.parametrize('out_type', OUT_TYPES[:4])
@pytest.mark.parametrize('options', [
    {}, dict(features=dict(gradient=True)), dict(features=WINDOW),
    dict(num_register_tokens=2, ffn_type='swiglu', qk_norm=True, pre_norm=True)])
def test_every_parameter_gets_a_gradient(out_type: str, options: dict):
    model = make_model(out_type=out_type, **options).train()
    output, = model(draw_images())
    (output * torch.randn_like(output)).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # No self edge wins on these images, and batch norm cancels the bias before it: their gradients are zero, and there.
    zero = ('.self_edge.', '.pixel.conv.bias', '.coarse.conv1.bias', '.coarse.conv2.bias')
    assert not [name for name, parameter in model.named_parameters() if not (parameter.grad.any() or any(part in name for part in zero))]


@torch.no_grad()
@pytest.mark.parametrize('features', [{}, WINDOW], ids=['box', 'window'])
def test_an_image_does_not_depend_on_the_batch(features: dict):
    model, images = make_model(features=dict(gradient=True) | features).eval(), draw_images(5)
    whole, = model(images)
    for order in ([4, 0, 2], [3], [1, 1]):
        assert torch.allclose(model(images[order])[0], whole[order], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize('height, width', [(1, 1), (1, 7), (5, 3), (17, 33)])
@pytest.mark.parametrize('tokenizer', [None, GridTokenizer(8)], ids=['dht', 'grid'])
@pytest.mark.parametrize('features', [{}, WINDOW], ids=['box', 'window'])
def test_any_size(height: int, width: int, tokenizer: nn.Module | None, features: dict):
    output, = make_model(tokenizer=tokenizer, out_type='featmap', features=features).eval()(draw_images(2, height, width))
    assert output.shape == (2, 16, -(-height // 8), -(-width // 8)) and output.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize('patch_size', [8, 14, 16, 32])
@pytest.mark.parametrize('out_type', ['featmap', 'cls_token'])
def test_patch_sizes(patch_size: int, out_type: str):
    images = draw_images(2, 45, 33)
    for tokenizer in (None, GridTokenizer(patch_size)):
        model = make_model(tokenizer=tokenizer, img_size=56, patch_size=patch_size, out_type=out_type, features=dict(gradient=True))
        expected = (2, 16, -(-45 // patch_size), -(-33 // patch_size)) if out_type == 'featmap' else (2, 16)
        output, = model.eval()(images)
        assert output.shape == expected and output.isfinite().all()


@pytest.mark.parametrize('channels', [1, 6])
@pytest.mark.parametrize('features', [{}, WINDOW], ids=['box', 'window'])
def test_other_numbers_of_channels(channels: int, features: dict):
    output, = make_model(in_channels=channels, features=features).eval()(draw_images(channels=channels))
    assert output.shape == (2, 16)


@torch.no_grad()
@pytest.mark.parametrize('crop', ['box', 'window'])
def test_with_a_grid_it_is_a_plain_vit(crop: str):
    model = make_model(tokenizer=dict(type='dht_mm.GridTokenizer', patch_size=8), out_type='raw', features=dict(crop=crop)).eval()
    if crop == 'window':
        nn.init.zeros_(model.embedding.form_embed.weight)
    images = draw_images(2, 32, 32)
    embedding = model.embedding
    patches = nn.functional.conv2d(images, embedding.patch_embed.weight.view(16, 3, 8, 8), embedding.patch_embed.bias, 8)
    positions = embedding.pos_embed.weight.T * (32 / 4)**2  # each patch lies in one cell of a grid of 4 x 4
    tokens = torch.cat([embedding.cls_token.expand(2, -1, -1), patches.flatten(2).mT + positions], 1)
    offsets = torch.tensor([0, 17, 34], dtype=torch.int32)
    expected = model.encoder(tokens.flatten(0, 1), offsets, (2,))[2].view(2, 17, 16)
    assert not model.inject_mean and torch.allclose(model(images)[0], expected, atol=1e-5)


@torch.no_grad()
def test_tokens_know_what_they_saw():
    images = draw_images()
    assert make_model(out_type='tokens').eval()(images).boxes is None
    model = make_model(out_type='tokens', features=WINDOW).eval()
    tokens = model(images)
    assert torch.equal(tokens.boxes, model.features.find_windows(tokens.partition).boxes)
    assert tokens.boxes.shape == (tokens.partition.total_regions, 4)


@pytest.mark.parametrize('features', [{}, WINDOW], ids=['box', 'window'])
def test_mean_injection_carries_the_gradient_to_the_tokenizer(features: dict):
    for inject in (True, False):
        model = make_model(features=dict(inject_mean=inject) | features).eval()
        model(draw_images())[0].sum().backward()
        assert (model.tokenizer.color.weight.grad is not None) == inject
    assert make_model().inject_mean and make_model(tokenizer=nn.Identity()).inject_mean


def test_defaults():
    model = DHTViT()
    assert (model.embed_dims, model.num_layers, model.out_type, model.out_indices) == (768, 12, 'cls_token', (11,))
    assert isinstance(model.tokenizer, DHTTokenizer) and model.features.position.grid == (14, 14)
    assert model.features.gradient is None and isinstance(model.embedding.pre_norm, nn.Identity)
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
    assert model.encoder.blocks[-1].drop_path.rate == pytest.approx(0.2)


@pytest.mark.parametrize('name', ARCHS)
def test_capacities_have_names_and_letters(name: str):
    assert get_arch(name) == get_arch(name[0]) == get_arch(name.upper())
    with torch.device('meta'):
        model = DHTViT(arch=name)
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == pytest.approx(
        dict(small=21.3e6, medium=37.8e6, base=85.1e6, large=302e6, huge=630e6)[name], rel=0.01)


def test_arguments_reach_their_part():
    model = make_model(img_size=(30, 40), norm_cfg=dict(type='LN', eps=1e-5), features=dict(pos_scale=3), pre_norm=True,
                       final_norm=False, qkv_bias=False, qk_norm=True, layer_scale_init_value=0, drop_path_rate=0.3)
    assert model.features.position.grid == (4, 5) and model.features.position.scale == 3
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}
    names = set(model.state_dict())
    assert {'embedding.pre_norm.weight', 'encoder.blocks.0.attn.q_norm.weight'} <= names
    assert not names & {'encoder.norm.weight', 'encoder.blocks.0.attn.qkv.bias', 'encoder.blocks.0.ls1.gamma'}
    assert model.encoder.blocks[1].drop_path.rate == pytest.approx(0.15)
    assert all(block.compiled for block in make_model(compile_blocks=True).encoder.blocks)
    assert not any(block.compiled for block in model.encoder.blocks)
    model = make_model(features=dict(gradient=True, gradient_curve=(2.0, 3.0)))
    assert model.features.gradient.curve.flatten().tolist() == [2, 3]


def test_swiglu_has_about_as_many_parameters_as_the_mlp():
    sizes = [sum(parameter.numel() for parameter in make_model(ffn_type=name, arch=dict(
        embed_dims=48, num_layers=1, num_heads=2)).encoder.blocks[0].mlp.parameters()) for name in ('mlp', 'swiglu')]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_norm_eval_keeps_batch_norm_as_it_is():
    model = make_model(norm_eval=True).train()
    before = {key: value.clone() for key, value in model.tokenizer.named_buffers()}
    output, = model(draw_images())
    output.sum().backward()
    assert model.training and model.encoder.blocks[0].training
    assert all(torch.equal(value, before[key]) for key, value in model.tokenizer.named_buffers())
    assert model.tokenizer.projection.pixel['norm'].weight.grad is not None
    model = make_model().train()
    model(draw_images())
    assert not all(torch.equal(value, before[key]) for key, value in model.tokenizer.named_buffers())


def test_options_may_come_from_a_config():
    model = MODELS.build(ConfigDict(
        type='dht_mm.DHTViT', tokenizer=dict(type='dht_mm.DHTTokenizer'), arch=dict(TINY, feedforward_channels=20),
        img_size=[32, 32], patch_size=8, out_indices=[0, -1], norm_cfg=dict(type='LN', eps=1e-5),
        features=dict(pos_grid=[3, 5], inject_mean=False)))
    assert model.features.position.grid == (3, 5) and not model.inject_mean and model.out_indices == (0, 2)
    assert model.encoder.blocks[0].mlp.fc1.out_features == 20


@pytest.mark.parametrize('stages', [-1, 0, 1, 3])
def test_frozen_stages(stages: int):
    model = make_model(frozen_stages=stages, out_type='avg_featmap').train()
    assert model(draw_images())[0].requires_grad == (stages < 3)
    free = {name.split('.')[2] if name.startswith('encoder.blocks') else name.split('.')[0]
            for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = {str(index) for index in range(max(stages, 0), 3)}
    rest = {'tokenizer', 'features', 'embedding'} if stages < 1 else set()
    assert free == blocks | rest | ({'encoder', 'avg_norm'} if stages < 3 else set())
    assert model.tokenizer.training == (stages < 1) and model.encoder.blocks[0].training == (stages < 1)
    if stages == 1:
        assert model.encoder.blocks[1].training and model.encoder.norm.weight.requires_grad


def test_layer_depths():
    model = make_model(out_type='avg_featmap', pre_norm=True, features=WINDOW)
    depths = {name: model.get_layer_depth(name) for name in dict(model.named_parameters())}
    assert {total for _, total in depths.values()} == {5}
    for name, (depth, _) in depths.items():
        if name.startswith('encoder.blocks.'):
            assert depth == 1 + int(name.split('.')[2])
        else:  # a pretrained ViT knows no forms
            pretrained = name.startswith(('tokenizer.', 'features.', 'embedding.')) and 'form' not in name
            assert depth == (0 if pretrained else 4)
    assert model.get_layer_depth('backbone.encoder.blocks.2.norm1.weight', 'backbone.') == (3, 5)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)


def test_checkpointing_gives_the_same_gradients():
    def gradients(with_cp: bool) -> list[Tensor]:
        model = make_model(with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(2)
        model(draw_images())[0].sum().backward()
        return [parameter.grad for parameter in model.parameters()]

    assert all(map(torch.equal, gradients(True), gradients(False)))


@torch.no_grad()
def test_autocast_stays_close_and_keeps_the_partition():
    images = draw_images()
    for out_type in ('cls_token', 'featmap', 'avg_featmap'):
        model = make_model(out_type=out_type).eval()
        expected, = model(images)
        with torch.autocast('cpu', torch.bfloat16):
            output, = model(images)
        assert output.dtype == torch.float32 and (output - expected).abs().max() < 0.1 * expected.abs().max()


def test_pretrained_weights_of_a_whole_model(tmp_path):
    source = make_model()
    nn.init.normal_(source.embedding.cls_token)
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in source.state_dict().items()}), tmp_path / 'a.pth')
    target = make_model(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.'))
    assert not torch.equal(source.embedding.cls_token, target.embedding.cls_token)
    target.init_weights()
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


@pytest.mark.parametrize('options, message', [
    (dict(arch='tiny'), "arch must be one of .* got 'tiny'"),
    (dict(arch=dict(embed_dims=16, num_layers=2)), 'arch must have the keys .*num_heads'),
    (dict(arch=dict(TINY, depth=3)), 'arch must have the keys .*depth'),
    (dict(arch=dict(TINY, num_layers=0)), 'arch must hold positive integers'),
    (dict(img_size=0), 'img_size .* got 0'),
    (dict(img_size=(32, 32, 3)), 'img_size .* got'),
    (dict(patch_size=0), 'patch_size .* got 0'),
    (dict(in_channels=0), 'in_channels .* got 0'),
    (dict(out_indices=3), 'out_indices .* 3 blocks, got 3'),
    (dict(out_indices=(0, -4)), r'out_indices .* got \(0, -4\)'),
    (dict(out_indices=()), r'out_indices .* got \(\)'),
    (dict(out_type='map'), "out_type must be one of .* got 'map'"),
    (dict(with_cls_token=False), "out_type='cls_token' needs with_cls_token=True"),
    (dict(num_register_tokens=-1), 'num_register_tokens .* got -1'),
    (dict(ffn_type='glu'), "ffn_type must be 'mlp' or 'swiglu', got 'glu'"),
    (dict(frozen_stages=4), 'frozen_stages .* got 4'),
    (dict(norm_cfg=dict(type='BN')), "norm_cfg must be .* got {'type': 'BN'}"),
    (dict(drop_path_rate=-0.1), 'drop_path_rate .* got -0.'),
    (dict(features=dict(pos_grid=0)), 'grid_y .* got 0'),
])
def test_bad_options_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        DHTViT(**dict(arch=TINY) | options)


def test_unknown_options_are_named():
    with pytest.raises(TypeError, match='qkv_bais'):
        DHTViT(arch=TINY, qkv_bais=True)
    with pytest.raises(TypeError, match='pos_gird'):
        DHTViT(arch=TINY, features=dict(pos_gird=4))
    with pytest.raises(TypeError, match='num_layers'):  # would contradict arch
        DHTViT(arch=TINY, num_layers=2)


@pytest.mark.parametrize('images, error, message', [
    (torch.zeros(0, 3, 8, 8), ValueError, r'images .* shape \(0, 3, 8, 8\)'),
    (torch.zeros(1, 1, 8, 8), ValueError, 'images .* got 1 in shape'),
    (torch.zeros(3, 8, 8), ValueError, r'images .* shape \(3, 8, 8\)'),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, 'images .* got torch.uint8'),
    (torch.full((1, 3, 8, 8), torch.nan), ValueError, 'images must be finite'),
])
def test_bad_images_are_named(images: Tensor, error: type, message: str):
    with pytest.raises(error, match=message):
        make_model()(images)

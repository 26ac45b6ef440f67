"""What wins in docs/experiments.md: tokens see windows as a plain ViT's patches are, and pixels are decoded from them."""

_base_ = './dht-vit-s_token-head_1xb16-40e_camvid-360x480.py'
model = dict(
    type='dht_mm.RegionSegmentor',
    backbone=dict(drop_path_rate=0.0, features=dict(pos_grid=(23, 30), crop='window')),  # 675 windows of 16 x 16 pixels are an image
    decode_head=dict(
        _delete_=True, type='dht_mm.TokenHead', in_channels=384, num_classes=11, decode=dict(places=4, mix=4, texture=True),
        loss_stride=4))
# The decode has much to learn in few steps; nothing else of the head or the backbone gains from a higher rate.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'decode_head.': dict(lr_mult=10)}))

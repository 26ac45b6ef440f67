_base_ = './dht-vit-s_8xb512-linear-90e_in1k-224px.py'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='data/pretrain/dht-vit-b_8xb64-100e_in1k-224px.pth')),
    neck=dict(input_features=768),
    head=dict(in_channels=768))

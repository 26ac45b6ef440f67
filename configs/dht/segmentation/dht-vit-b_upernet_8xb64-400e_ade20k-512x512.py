_base_ = './dht-vit-s_upernet_8xb64-400e_ade20k-512x512.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2, init_cfg=dict(checkpoint='data/pretrain/dht-vit-b_deit3-pre_8xb64-100e_in1k-224px.pth')),
    neck=dict(in_channels=768),
    decode_head=dict(in_channels=[768] * 4),
    auxiliary_head=dict(in_channels=768))

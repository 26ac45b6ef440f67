_base_ = './dht-vit-s_token-head_8xb64-400e_pascal-context-59-512x512.py'
model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2, init_cfg=dict(checkpoint='data/pretrain/dht-vit-b_deit3-pre_8xb64-100e_in1k-224px.pth')),
    decode_head=dict(in_channels=768))

_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenet_224.py',
    '../../_base_/schedules/adamw_100e_mmpretrain.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
model = dict(backbone=dict(tokenizer=dict(init_cfg=None)))
load_from = 'data/pretrain/dht-vit-s_8xb256-400e_in1k-192px.pth'

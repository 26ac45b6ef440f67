_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenet_192_three-augment.py',
    '../../_base_/schedules/lamb_100e_retrofit_mmpretrain.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
model = dict(backbone=dict(img_size=192, features=dict(pos_grid=16, gradient=False)))
load_from = 'data/pretrain/dht-vit-s_deit3-pre.pth'

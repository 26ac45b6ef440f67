_base_ = [
    '../../_base_/models/dht-vit-s_cls-head.py',
    '../../_base_/datasets/imagenette_128.py',
    '../../_base_/schedules/adamw_toy_mmpretrain.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=192, num_layers=4, num_heads=3),
        img_size=128,
        drop_path_rate=0.0,
        features=dict(pos_grid=16),
        tokenizer=dict(norm_eval=False, init_cfg=None)),  # trained along with the rest, from random weights
    head=dict(num_classes=10, in_channels=192, topk=(1, )))

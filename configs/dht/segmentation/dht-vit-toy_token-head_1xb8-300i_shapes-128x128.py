_base_ = [
    '../../_base_/models/dht-vit-toy_token-head.py',
    '../../_base_/datasets/shapes_128x128.py',
    '../../_base_/schedules/adamw_toy_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)

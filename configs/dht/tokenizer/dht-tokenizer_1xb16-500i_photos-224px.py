_base_ = [
    '../../_base_/models/dht-tokenizer.py',
    '../../_base_/datasets/photos_224.py',
    '../../_base_/default_runtime_mmpretrain.py',
]
max_iters = 500
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2, weight_decay=1e-2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=20, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=20, end=max_iters, by_epoch=False),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=max_iters))
# The running statistics of the last steps are those of weights that still moved: taken anew over a thousand crops.
custom_hooks = [dict(type='PreciseBNHook', num_samples=1024, interval=max_iters, priority='ABOVE_NORMAL')]
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)

_base_ = [
    '../../_base_/models/dht-tokenizer.py',
    '../../_base_/datasets/shapes_128x128.py',
    '../../_base_/schedules/adamw_toy_mmseg.py',
    '../../_base_/default_runtime_mmseg.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
max_iters = 60
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=1e-2, weight_decay=1e-2))
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=1e-4, begin=0, end=max_iters, by_epoch=False)]
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters))
val_cfg, val_dataloader, val_evaluator = None, None, None
test_cfg, test_dataloader, test_evaluator = None, None, None

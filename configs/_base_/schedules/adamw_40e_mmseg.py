"""For a few hundred images: a tenth of the paper's epochs in batches of 16, ten times its learning rate."""

_base_ = './adamw_400e_mmseg.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.1, T_max=35, begin=5, end=40, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=40, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=5))
auto_scale_lr = dict(base_batch_size=16)

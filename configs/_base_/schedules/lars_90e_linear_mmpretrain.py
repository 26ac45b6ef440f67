"""Linear evaluation as in MAE (He et al., 2022, table 10): 90 epochs, LARS with 0.1 for a batch of 256, 10 warm-up epochs."""

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='LARS', lr=1.6, momentum=0.9, weight_decay=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0., T_max=80, begin=10, end=90, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=90, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=4096)

"""Recipe of the paper for retrofitting (table D.1): 100 epochs in batches of 2048, LAMB, layer-wise decay, 5 warm-up epochs."""

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='dht_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='Lamb', lr=6e-5, weight_decay=0.05),
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={'.cls_token': dict(decay_mult=0.), '.pos_embed': dict(decay_mult=0.)}),
    clip_grad=dict(max_norm=1.0))
# Rates of the last layer: 1e-7, 6e-5, 1e-6. The others start and end at the same parts of theirs.
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 600, begin=0, end=5, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=1 / 60, T_max=95, begin=5, end=100, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(enable=False, base_batch_size=2048)

"""CamVid (11 classes) in the folders of SegNet's tutorial, at its size of 480 x 360 pixels."""

_base_ = './segmentation_512x512.py'

crop_size = (360, 480)
data_preprocessor = dict(size=crop_size)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='dht_mm.RandomResizedCrop', size=crop_size, scale=(0.5, 1.0), ratio=(0.8, 1.2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0, 1.25)],
            [dict(type='RandomFlip', prob=0., direction='horizontal'), dict(type='RandomFlip', prob=1., direction='horizontal')],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ]),
]
dataset = dict(type='dht_mm.CamVidDataset', data_root='data/CamVid')
train_dataloader = dict(batch_size=16, dataset=dict(
    **dataset, data_prefix=dict(img_path='train', seg_map_path='trainannot'), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='val', seg_map_path='valannot'), pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(
    **dataset, data_prefix=dict(img_path='test', seg_map_path='testannot'), pipeline=test_pipeline))

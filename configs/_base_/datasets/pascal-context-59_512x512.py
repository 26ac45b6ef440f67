"""Pascal Context (59 classes, no background), as mmsegmentation's tools/dataset_converters/pascal_context.py lays it out."""

_base_ = './segmentation_512x512.py'

dataset = dict(
    type='PascalContextDataset59',
    data_root='data/VOCdevkit/VOC2010',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'))
train_dataloader = dict(dataset=dict(**dataset, ann_file='ImageSets/SegmentationContext/train.txt'))
val_dataloader = dict(dataset=dict(**dataset, ann_file='ImageSets/SegmentationContext/val.txt'))
test_dataloader = val_dataloader

_base_ = './dht-vit-b_deit3-pre_8xb256-100e_in1k-192px.py'
model = dict(backbone=dict(patch_size=32))
load_from = 'data/pretrain/dht-vit-b-p32_augreg-pre.pth'

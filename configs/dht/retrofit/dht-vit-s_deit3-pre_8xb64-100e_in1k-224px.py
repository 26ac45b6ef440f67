_base_ = '../classification/dht-vit-s_8xb64-100e_in1k-224px.py'
model = dict(backbone=dict(features=dict(gradient=False)))
load_from = 'data/pretrain/dht-vit-s_deit3-pre_8xb256-100e_in1k-192px.pth'

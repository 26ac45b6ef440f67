_base_ = './dht-vit-s_8xb64-knn_in1k-224px.py'
model = dict(backbone=dict(arch='base'))

# The plain ViT beside dht-vit-toy: the same network on 64 tokens too, squares of 16 x 16 pixels.
_base_ = './dht-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
model = dict(backbone=dict(tokenizer=dict(_delete_=True, type='dht_mm.GridTokenizer', patch_size=16)))

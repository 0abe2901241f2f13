"""BEiT with a ViT-B/16 and the codes of DALL-E's autoencoder, as in the paper, 800 epochs of ImageNet."""

_base_ = ['beit_vit-base_16xb128-coslr-800e_in1k.py']

tokens = dict(type='DALLETokens', patch=16, codes=8192, file='data/tokens/dalle.pth')
model = dict(heads=dict(codes=dict(target=dict(_delete_=True, **tokens))))

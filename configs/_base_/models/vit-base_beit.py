"""The transformer of BEiT and SimMIM: a learned token in place of what is hidden, relative positions."""

model = dict(
    backbone=dict(
        type='TimmViT',
        arch='beit_base_patch16_224',  # shared relative positions, layer scale 0.1
        hidden='token',
        init='beit',
        drop_path=0.1,
        output_cls_token=False,
    )
)

"""The transformer of BEiT and SimMIM: a learned mask token for hidden patches, relative positions."""

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

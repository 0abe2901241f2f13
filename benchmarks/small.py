"""Tasks of a small machine for tools/benchmark.py: CamVid, BCCD and COCO-mini, frozen and fine-tuned.

Other folders: --cfg-options tasks.camvid.data=my/camvid, and so on. Probes take seconds to minutes of a core,
fine-tunings two to five minutes.
"""

camvid = 'data/camvid'  # images/ and labels/, both with train/, val/ and test/
bccd = dict(data='data/bccd/instances_train.json', val='data/bccd/instances_val.json')
coco = dict(data='data/coco/instances_train_super12.json', val='data/coco/instances_val_super12.json')


def _probe(of, *probes):
    return dict(kind='probe', labelled=of['data'], test=of['val'], probes=probes)


_train = dict(kind='train', amp='bf16')
_bccd = dict(_train, root='data/bccd', annotations='instances_val.json')
_camvid = dict(_train, root='data/camvid')

tasks = dict(
    camvid_frozen=dict(
        kind='probe',
        labelled=camvid,
        probes=('linear', 'retrieval', 'clusters'),
        groups=r'(.+)\d{3}\.',  # a thousand frames of a film, some 30 of them labelled, are drawn together
    ),
    bccd_frozen=_probe(bccd, 'linear', 'retrieval', 'boxes'),
    coco_frozen=_probe(coco, 'linear', 'retrieval', 'boxes'),
    camvid=dict(kind='finetune', data=camvid, size='slim', iters=300),
    camvid_tenth=dict(kind='finetune', data=camvid, size='slim', iters=150, share=0.1),
    bccd=dict(kind='finetune', **bccd, size='slim', iters=200),
    bccd_tenth=dict(kind='finetune', **bccd, size='slim', iters=120, share=0.1),
    # Configs as they are, which also take the pretrained pyramid and heads of a detector:
    bccd_r18=dict(_bccd, config='configs/detection/faster-rcnn_r18_fpn_bccd.py'),
    bccd_4conv1fc=dict(_bccd, config='configs/detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py'),
    coco_r18=dict(
        _train,
        config='configs/detection/mask-rcnn_r18_fpn_small-coco.py',
        root='data/coco',
        annotations='instances_val_super12.json',
    ),
    camvid_r18=dict(_camvid, config='configs/segmentation/fcn_r18_camvid.py'),
    camvid_r18_pixel_contrast=dict(_camvid, config='configs/segmentation/fcn_r18_camvid_pixel-contrast.py'),
)

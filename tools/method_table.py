#!/usr/bin/env python
"""Write the table of docs/methods.md: every method as the choices that its config makes.

python tools/method_table.py           # rewrite the table
python tools/method_table.py --check   # exit with 1 where the file is stale

A row is read from the config of the method's paper (below); nothing in it is written by hand but the order.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'methods.md'
START, END = '<!-- made by tools/method_table.py -->', '<!-- end of the table -->'
#: Name -> config, below configs/.
METHODS = {
    'Colorization': 'colorization/colorization_resnet50_1xb40-steplr-16e_in1k.py',
    'Context encoder': 'context_encoder/context-encoder_conv5_1xb64-constlr-500e_paris.py',
    'Rotation': 'rotation/rotation_resnet50_8xb32-steplr-105e_in1k.py',
    'Jigsaw': 'jigsaw/jigsaw_resnet50_8xb32-steplr-105e_in1k.py',
    'Context prediction': 'context/context_resnet50_8xb64-steplr-70e_in1k.py',
    'Exemplar': 'exemplar/exemplar_resnet50_8xb32-steplr-200e_in1k.py',
    'NPID': 'npid/npid_resnet50_8xb32-steplr-200e_in1k.py',
    'PIRL': 'pirl/pirl_resnet50_32xb32-coslr-800e_in1k.py',
    'MoCo v1': 'mocov1/mocov1_resnet50_8xb32-steplr-200e_in1k.py',
    'MoCo v2': 'mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py',
    'MoCo v3': 'mocov3/mocov3_resnet50_8xb512-coslr-100e_in1k.py',
    'SimCLR': 'simclr/simclr_resnet50_8xb512-coslr-100e_in1k.py',
    'ViewMaker': 'viewmaker/viewmaker_resnet50_8xb32-coslr-200e_in1k.py',
    'DirectCLR': 'directclr/directclr_resnet50_8xb512-coslr-100e_in1k.py',
    'SupCon': 'supcon/supcon_resnet50_8xb128-coslr-100e_in1k.py',
    'SINCERE': 'sincere/sincere_resnet50_8xb64-coslr-100e_in1k.py',
    'CLOP': 'clop/clop_resnet50_8xb128-coslr-100e_in1k.py',
    'BYOL': 'byol/byol_resnet50_8xb512-coslr-100e_in1k.py',
    'SimSiam': 'simsiam/simsiam_resnet50_8xb64-coslr-100e_in1k.py',
    'GenView': 'genview/genview-simsiam_resnet50_8xb64-coslr-100e_in1k.py',
    'Barlow Twins': 'barlow_twins/barlow_twins_resnet50_8xb256-coslr-1000e_in1k.py',
    'VICReg': 'vicreg/vicreg_resnet50_8xb256-coslr-1000e_in1k.py',
    'SwAV': 'swav/swav_resnet50_64xb64-mcrop-coslr-800e_in1k.py',
    'DINO': 'dino/dino_vit-small_8xb64-mcrop-coslr-100e_in1k.py',
    'DenseCL': 'densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py',
    'FinerCL': 'finercl/finercl_resnet50_8xb32-coslr-200e_in1k.py',
    'PixPro': 'pixpro/pixpro-instance_resnet50_8xb128-coslr-100e_in1k.py',
    'PixContrast': 'pixcontrast/pixcontrast_resnet50_8xb128-coslr-100e_in1k.py',
    'SetSim': 'setsim/setsim_resnet50_8xb64-coslr-200e_in1k.py',
    'VICRegL': 'vicregl/vicregl_resnet50_8xb64-coslr-100e_in1k.py',
    'SlotCon': 'slotcon/slotcon_resnet50_8xb64-coslr-200e_in1k.py',
    'SCRL': 'scrl/scrl_resnet50_32xb256-coslr-200e_in1k.py',
    'SoCo': 'soco/soco_resnet50_fpn_16xb128-coslr-100e_in1k.py',
    'AlignDet': 'aligndet/aligndet_mask-rcnn_r50_fpn_8xb2-steplr-12e_coco.py',
    'ReSim': 'resim/resim-fpn_resnet50_8xb32-coslr-200e_in1k.py',
    'DetCon-B': 'detcon/detcon-b_resnet50_8xb512-coslr-100e_in1k.py',
    'DetCon-S': 'detcon/detcon-s_resnet50_8xb512-coslr-100e_in1k.py',
    'DetCo': 'detco/detco_resnet50_8xb32-coslr-200e_in1k.py',
    'MAE': 'mae/mae_vit-base_64xb64-coslr-800e_in1k.py',
    'SimMIM': 'simmim/simmim_vit-base_16xb128-steplr-800e_in1k.py',
    'BEiT': 'beit/beit_vit-base_16xb128-coslr-800e_in1k.py',
    'VQ-KD': 'beit/vqkd_vit-base_8xb64-coslr-100e_in1k.py',
    'BEiT v2': 'beit/beitv2_vit-base_16xb128-coslr-300e_in1k.py',
    'SiT': 'sit/sit_vit-small_4xb64-coslr-800e_in1k.py',
    'SparK': 'spark/spark_resnet50_32xb128-coslr-1600e_in1k.py',
    'FCMAE': 'fcmae/fcmae_convnextv2-tiny_64xb64-coslr-800e_in1k.py',
    'iBOT': 'ibot/ibot_vit-small_16xb64-mcrop-coslr-800e_in1k.py',
    'De-coupled iBOT': 'ibot/ibot-decoupled_vit-small_8xb64-coslr-800e_coco.py',
    'DINOv2': 'dinov2/dinov2_vit-large_32xb64-mcrop-coslr-200e_in1k.py',
    'DINOv3': 'dinov3/dinov3-gram_vit-large_32xb64-mcrop-constlr-40e_in1k.py',
    'CAPI': 'capi/capi_vit-large_32xb512-coslr-6400e_in1k.py',
    'NeCo': 'neco/neco_vit-small_1xb64-mcrop-coslr-25e_coco.py',
    'PaKA': 'paka/paka_vit-small_1xb64-mcrop-coslr-25e_coco.py',
    'Leopart': 'leopart/leopart_vit-small_2xb32-mcrop-coslr-50e_coco.py',
    'CrIBo': 'cribo/cribo_vit-small_8xb32-coslr-300e_coco.py',
    'DIP': 'dip/dip_vit-small_1xb32-coslr-5e_coco.py',
    'RASA': 'rasa/rasa_vit-small_1xb128-coslr-45e_voc.py',
    'Distillation': 'distillation/distillation_resnet50_8xb192-coslr-100e_in1k.py',
    'SimCSE': 'simcse/simcse_bert-base_1xb64-linlr-1e_wiki.py',
    'SimCSE, supervised': 'simcse/simcse-sup_bert-base_4xb128-linlr-3e_nli.py',
    'CLIP': 'clip/clip_vit-base_256xb128-coslr-32e_captions.py',
    'CLIP, pooled by attention': 'clip/clip_resnet50_256xb128-coslr-32e_captions.py',
    'Finer anchor': 'anchor/anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py',
}
TARGETS = {'SharedPretrainer': 'same network', 'MomentumPretrainer': 'momentum copy'}
#: Arguments that say nothing about the method.
LEFT_OUT = {
    'type', 'dim', 'images', 'prototypes', 'freeze', 'freeze_unit', 'init', 'eps', 'levels', 'thresholds',
    'patch', 'backbone', 'channels', 'stride', 'file', 'start', 'tower', 'discriminator',
}  # fmt: skip
DEFAULTS = {'units': 'Image', 'matching': 'SameRow'}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='change nothing, say whether the file is stale')
    return parser.parse_args()


def main() -> int:
    """Write the page, or compare."""
    text = PAGE.read_text(encoding='utf-8')
    before, rest = text.split(START)
    after = rest.split(END)[1]
    new = f'{before}{START}\n{table()}\n{END}{after}'
    if not parse_args().check:
        PAGE.write_text(new, encoding='utf-8')
    elif new != text:
        print(f'{PAGE}: the table is not what the configs say; run python tools/method_table.py')
        return 1
    return 0


def table() -> str:
    """The table in Markdown."""
    lines = ['| method | target | head | units | matching | objective |', '|---|---|---|---|---|---|']
    for name, path in METHODS.items():
        lines += rows(name, path)
    return '\n'.join(lines)


def rows(name: str, path: str) -> list[str]:
    """The rows of a method, one a head; heads that say the same share one."""
    model = Config.fromfile(ROOT / 'configs' / path).model
    method = f'[{name}](../configs/{path.split("/")[0]}/README.md)'
    by_choice: dict[tuple[str, ...], list[str]] = {}
    for head_name, head in model.heads.items():
        choice = [target(model.type, head)]
        choice += [said(head.get(field, DEFAULTS.get(field))) for field in ('units', 'matching', 'objective')]
        by_choice.setdefault(tuple(choice), []).append(head_name)
    found = []
    for choice, heads in by_choice.items():
        found.append(f'| {method} | {choice[0]} | {", ".join(heads)} | {" | ".join(choice[1:])} |')
        method = ''
    return found


def target(pretrainer: str, head: dict) -> str:
    """Who gives the answer, and what stands between."""
    own = head.get('target')
    named = {None: TARGETS[pretrainer], 'start': 'frozen start', 'features': 'features of the momentum copy'}
    parts = [named[own] if own in (None, 'start', 'features') else said(own)]
    parts += ['predictor'] if head.get('predictor') else []
    parts += ['both ways'] if head.get('both_ways') else []
    parts += ['stop-gradient'] if head.get('stop_gradient') else []
    return ', '.join(parts)


def said(config) -> str:
    """A field of a head, as one would write it."""
    if isinstance(config, str):
        return config
    if isinstance(config, list | tuple):
        return ' + '.join(said(part) for part in config)
    if 'type' not in config:
        return '; '.join(f'{kind}: {said(part)}' for kind, part in config.items())
    if config['type'] == 'Sum':
        return said(config['objectives'])
    arguments = [f'{k}={_value(v)}' for k, v in config.items() if k not in LEFT_OUT and v is not None]
    return f'{config["type"]}({", ".join(arguments)})' if arguments else config['type']


def _value(value) -> str:
    """An argument; a part of its own as one would write it."""
    return said(value) if isinstance(value, dict) and 'type' in value else repr(value)


if __name__ == '__main__':
    sys.exit(main())

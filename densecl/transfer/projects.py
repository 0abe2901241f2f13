"""Recognises the project that wrote a file, and the licence of its released weights."""

import re
from dataclasses import dataclass

from .read import Weights

_ONLINE_TARGET = {'online': 'online encoder', 'target': 'target encoder'}
_STUDENT_TEACHER = {'online': 'student', 'target': 'teacher'}
_QUERY_KEY = {'online': 'query encoder', 'target': 'key encoder'}


@dataclass(frozen=True)
class Project:
    """A project and how its files are recognised.

    Attributes:
        name: its usual name.
        licence: licence of the weights that it released, SPDX-like; None if there are none, or several.
        keys: patterns; each must match some tensor's name in the file.
        file: pattern of the names of its released files, for files without characteristic tensor names.
        branch: the encoder that the project evaluates, ``online`` or ``target``.
        parts: the project's names of the two encoders.
        heads: channels per attention head in all its transformers.
    """

    name: str
    licence: str | None = None
    keys: tuple[str, ...] = ()
    file: str = ''
    branch: str = 'online'
    parts: tuple[tuple[str, str], ...] = ()
    heads: int | None = None

    def part(self, branch: str) -> str:
        """``'teacher'``, ``'query encoder'``, ... or '' if there is only one encoder."""
        return dict(self.parts).get(branch, '')


def _project(name: str, licence: str | None = None, *keys: str, parts: dict | None = None, **more) -> Project:
    return Project(name, licence, keys, parts=tuple((parts or {}).items()), **more)


_TEACHER = dict(branch='target', parts=_STUDENT_TEACHER, heads=64)
#: The first project that fits is used.
PROJECTS = (
    _project('DINOv3', 'DINOv3', r'(storage_tokens|rope_embed\.periods)$', file=r'dinov3', **_TEACHER),
    _project('CAPI', 'Apache-2.0', r'\bencoder\.blocks\.0\.residual1\.', file=r'capi_', heads=64),
    _project('DINOv2', 'Apache-2.0', r'mask_token$', r'\bls1\.gamma$', file=r'dinov2', **_TEACHER),
    _project('iBOT', 'Apache-2.0', r'masked_embed$', file=r'ibot', **_TEACHER),
    _project('MAE', 'CC-BY-NC-4.0', r'^decoder_blocks\.', file=r'mae_(pretrain|finetune|visualize)'),
    _project('DINO', 'Apache-2.0', r'^(student|teacher)\.(module\.)?backbone\.', file=r'dino_', **_TEACHER),
    _project('MoCo v3', 'CC-BY-NC-4.0', r'\b(base|momentum)_encoder\.', file=r'vit-[sb]-300ep',
             parts={'online': 'base encoder', 'target': 'momentum encoder'}),
    _project('DenseCL', 'GPL-3.0', r'^queue2$', parts=_QUERY_KEY, file=r'densecl_'),
    _project('MoCo v2', 'CC-BY-NC-4.0', r'\bencoder_q\.fc\.2\.', parts=_QUERY_KEY),
    _project('MoCo v1', 'CC-BY-NC-4.0', r'\bencoder_q\.fc\.', parts=_QUERY_KEY),
    _project('PixPro', 'MIT', r'\bencoder_k\.', r'\b(projector_k|value_transform)\.',
             parts={'online': 'encoder', 'target': 'momentum encoder'}),
    _project('SwAV', 'CC-BY-NC-4.0', r'\bprojection_head\.', r'\bprototypes',
             file=r'(swav|deepclusterv2|selav2)_'),
    _project('BYOL', None, r'\b(online|target)_(net|encoder)\.', parts=_ONLINE_TARGET),
    _project('BYOL', None, r'\b(prediction_head|predictor)\w*\.', r'momentum', parts=_ONLINE_TARGET),
    _project('SimSiam', None, r'\bencoder\.', r'\bpredictor\.'),
    _project('Barlow Twins', 'CC-BY-NC-4.0', r'^(module\.)?projector\.', r'^(module\.)?bn\.running_mean$'),
    _project('VICReg', 'MIT', r'^(module\.)?backbone\.', r'^(module\.)?projector\.'),
    _project('mmdet', 'Apache-2.0', r'^backbone\.', r'^(bbox_head|rpn_head|roi_head)\.'),
    _project('mmseg', 'Apache-2.0', r'^backbone\.', r'^(decode_head|auxiliary_head)\.'),
    _project('mmpretrain', 'Apache-2.0', r'^backbone\.', r'^head\.'),
    _project('ConvNeXt V2', 'CC-BY-NC-4.0', r'^stages\.0\.0\.dwconv', r'\bgrn\.gamma$'),
    _project('BEiT', 'MIT', file=r'beit(v2)?_(base|large)_patch'),
    _project('Swin', 'MIT', file=r'swin_(tiny|small|base|large)_patch'),
    _project('ConvNeXt', 'MIT', r'^downsample_layers\.0\.0', r'^stages\.0\.0\.dwconv'),
)  # fmt: skip
_UNKNOWN = Project('')
_TORCHVISION = Project('torchvision', 'BSD-3-Clause', heads=64)
_DETECTRON2 = Project('detectron2', 'CC-BY-SA-3.0')


def project_of(weights: Weights, file: str) -> Project:
    """The project whose layout a file has; a project without a name if none is recognised.

    Args:
        weights: the file's tensors.
        file: the file's name without suffix; released files of bare backbones are recognised only by it.
    """
    if weights.names == 'detectron2' or 'res2_0_branch2a_w' in weights.tensors:
        return _DETECTRON2
    for project in PROJECTS:
        if project.keys and all(any(re.search(p, k) for k in weights.tensors) for p in project.keys):
            return project
    for project in PROJECTS:
        if project.file and re.match(project.file, file):
            return project
    return _TORCHVISION if _is_torchvisions(file) else _UNKNOWN


def _is_torchvisions(file: str) -> bool:
    """Whether a file's name has the form of torchvision's downloads: ``resnet50-0676ba61``."""
    from torchvision.models import list_models

    match = re.match(r'^([a-z0-9_]+?)(_rwightman)?-[0-9a-f]{8}$', file)
    return bool(match) and match[1] in list_models()


def caution(licence: str | None) -> str | None:
    """The restrictions of a licence for users of what is made from the weights; None if there are few."""
    if licence is None:
        return 'licence not known: ask whoever published the file before you share what is made from it'
    text = licence.upper()
    if '-NC' in text or 'NONCOMMERCIAL' in text:
        return f'{licence} is for non-commercial use, and so is what is made from these weights'
    if 'GPL' in text or '-SA' in text:
        return f'{licence}: what is made from these weights may only be passed on under the same licence'
    if text not in ('APACHE-2.0', 'MIT', 'BSD-3-CLAUSE', 'BSD-2-CLAUSE'):
        return f'{licence} has terms of its own: read them before you share what is made from these weights'
    return None

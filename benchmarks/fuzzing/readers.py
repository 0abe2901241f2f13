"""Everything that reads a stranger's file, with valid files and what must hold of what is read."""

import io
import json
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from densecl.coco import run_lengths
from densecl.compat import load_checkpoint
from densecl.datasets import TarShards
from densecl.datasets.bands import DEPTHS, MAX_BYTES
from densecl.datasets.decode import Photo, open_map, open_photo
from densecl.datasets.feature_maps import FeatureMaps, write_maps
from densecl.datasets.generated import read_list
from densecl.datasets.sensor import load_bands
from densecl.datasets.sources import Coco, ListFile
from densecl.datasets.sources.lists import CaptionTable
from densecl.datasets.sources.tar_index import tar_index
from densecl.datasets.transforms.permutations import read_permutations
from densecl.datasets.unreadable import UnreadableImageError
from densecl.evaluation.labelled_coco import open_coco
from densecl.finetune.coco import image_folder
from densecl.finetune.coco import read_coco as read_training_coco
from densecl.proposals import CocoBoxes, DamagedStoreError, MissingProposalsError, ProposalStore, SocoJson
from densecl.structures import Proposals
from densecl.transfer.read import read_weights

from .changes import CHANGES, CUTS, JSON_CHANGES, Change
from .trial import Reader, require

NAMES = ('a.jpg', 'sub/b.jpg', 'c.jpg')
SIZE = (30, 40)
#: Changes that a checksum or a framing has to notice, wherever they are.
SMALL = ('flip_bit', 'flip_bits', 'cut_end', 'cut_few', 'fill_block', 'random_block')


def picture(mode: str = 'RGB', size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth picture without symmetry."""
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).convert(mode)


def encoded(kind: str, mode: str = 'RGB', **options) -> bytes:
    """A picture in a format of Pillow."""
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def image_seeds() -> dict[str, bytes]:
    """Images of every format and mode that is read."""

    def several(kind: str) -> bytes:  # Pillow leaves its settings on the pictures that it appends
        return encoded(kind, save_all=True, append_images=[picture().rotate(180)])

    seeds = {
        'jpeg': encoded('JPEG'),
        'jpeg progressive': encoded('JPEG', progressive=True),
        'jpeg 444': encoded('JPEG', subsampling=0),
        'jpeg restarts': encoded('JPEG', restart_marker_rows=1),
        'jpeg grey': encoded('JPEG', 'L'),
        'jpeg cmyk': encoded('JPEG', 'CMYK'),
        'jpeg turned': encoded('JPEG', exif=_exif(6)),
        'mpo': several('MPO'),
        'png': encoded('PNG'),
        'png palette': encoded('PNG', 'P'),
        'png alpha': encoded('PNG', 'LA'),
        'png 1 bit': encoded('PNG', '1'),
        'png animated': several('PNG'),
        'gif': encoded('GIF'),
        'gif animated': several('GIF'),
        'webp': encoded('WEBP'),
        'webp lossless': encoded('WEBP', 'RGBA', lossless=True),
        'webp animated': several('WEBP'),
        'bmp': encoded('BMP'),
        'bmp palette': encoded('BMP', 'P'),
        'tiff': encoded('TIFF'),
        'tiff deflate': encoded('TIFF', compression='tiff_deflate'),
        'tiff lzw': encoded('TIFF', compression='tiff_lzw'),
        'tiff jpeg': encoded('TIFF', compression='jpeg'),
        'tiff pages': several('TIFF'),
        'ppm': encoded('PPM'),
        'jpeg2000': encoded('JPEG2000'),
        'tga': encoded('TGA'),
        'avif': encoded('AVIF'),
    }
    grey = np.asarray(picture('L')).astype(np.uint16) * 257
    for kind in ('PNG', 'TIFF'):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, kind)
        seeds[f'{kind.lower()} 16 bit'] = file.getvalue()
    return seeds


def band_seeds() -> dict[str, bytes]:
    """Images of other sensors."""
    import pydicom
    import tifffile
    from pydicom.dataset import FileDataset, FileMetaDataset

    values = np.random.default_rng(0).integers(0, 4096, (*SIZE, 5)).astype(np.uint16)
    seeds = {}
    for name, array in (('npy', values), ('npy float', values.astype('f4').transpose(2, 0, 1))):
        file = io.BytesIO()
        np.save(file, array)
        seeds[name] = file.getvalue()
    for name, options in (
        ('geotiff', {}), ('geotiff deflate', dict(compression='deflate')), ('bigtiff', dict(bigtiff=True)),
        ('geotiff tiles', dict(tile=(16, 16))), ('geotiff lzma', dict(compression='lzma')),
    ):  # fmt: skip
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric='minisblack', planarconfig='contig', **options)
        seeds[name] = file.getvalue()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = '1.2.3'
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dicom = FileDataset('', {}, file_meta=meta, preamble=bytes(128))
    dicom.Rows, dicom.Columns, dicom.SamplesPerPixel, dicom.PhotometricInterpretation = (
        *SIZE,
        1,
        'MONOCHROME2',
    )
    dicom.BitsAllocated, dicom.BitsStored, dicom.HighBit, dicom.PixelRepresentation = 16, 12, 11, 0
    dicom.PixelData = values[:, :, 0].tobytes()
    file = io.BytesIO()
    dicom.save_as(file, enforce_file_format=True)
    return seeds | {'dicom': file.getvalue(), 'png 16 bit': image_seeds()['png 16 bit']}


def read_image(path: Path) -> np.ndarray:
    """The pixels; of a photo also at a quarter of its size."""
    image = open_photo(str(path))
    if isinstance(image, Photo):
        quarter, (height, width, _) = image.decode(image.scales[-1]), image.shape
        scale = image.scales[-1]
        require(quarter.shape == (-(-height // scale), -(-width // scale), 3), 'a photo of another size')
        shape, image = image.shape, image.decode()
        require(image.shape == shape, 'a photo of another size than its header says')
    require(
        image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f'{image.dtype} {image.shape}'
    )
    require(image.size > 0 and image.flags.c_contiguous, f'an image of {image.shape}')
    return image


def read_bands(path: Path) -> np.ndarray:
    """The pixels in their depth."""
    pixels = load_bands(str(path), str(path)).pixels
    require(
        pixels.dtype.name in DEPTHS and pixels.ndim == 3 and pixels.size > 0, f'{pixels.dtype} {pixels.shape}'
    )
    require(pixels.nbytes <= MAX_BYTES, f'{pixels.nbytes} bytes')
    return pixels


def read_label_map(path: Path) -> np.ndarray:
    """A label map."""
    with open_map(path) as image:
        return np.asarray(image)


def tar_seed(kind: int) -> bytes:
    """Three photos with labels and captions."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w', format=kind) as tar:
        for name in NAMES:
            stem = name.partition('.')[0]
            for member, data in ((name, encoded('JPEG')), (f'{stem}.cls', b'3'), (f'{stem}.txt', b'a dog\n')):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_header(how: str) -> Change:
    """A header field of another value, with the checksum that fits."""

    def change(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        headers = [i for i in range(0, len(data) - 511, 512) if data[i + 257 : i + 262] == b'ustar']
        start = headers[int(rng.integers(len(headers)))]
        head = bytearray(data[start : start + 512])
        if how == 'size':
            sizes = (b'00000000000\0', b'77777777777\0', b'\x80' + (10**12).to_bytes(11, 'big'), b'\xff' * 12)
            head[124:136] = sizes[int(rng.integers(4))]
        elif how == 'type':
            head[156] = int(rng.choice(list(b'0123456LKxgSV7')))
            head[157:257] = b'/etc/passwd'.ljust(100, b'\0')
        else:
            names = (
                b'../../etc/passwd.jpg',
                b'/etc/x.jpg',
                b'',
                b'a\xff\xfe.jpg',
                b'a/../b.jpg',
                NAMES[0].encode(),
            )
            head[:100] = names[int(rng.integers(len(names)))].ljust(100, b'\0')
        head[148:156] = b' ' * 8
        head[148:156] = f'{sum(head):06o}\0 '.encode()
        return data[:start] + bytes(head) + data[start + 512 :]

    return change


def read_tar(path: Path) -> dict[str, tuple]:
    """All images, labels and captions by name. The index is made anew: the file beside is not used."""
    for kept in path.parent.glob('*.index.npz'):
        kept.unlink()
    source = TarShards(str(path))
    found = {}
    for i in range(len(source)):
        data, _ = source.load(i)
        require(len(data) <= path.stat().st_size, 'a member larger than the tar')
        found[source.image_id(i)] = data, source.label(i)
    require(len(found) == len(source), 'two images of one id')
    return {name: label for name, (_, label) in found.items()}


def tar_index_seed(folder: Path) -> bytes:
    """The index of a tar that stands beside it."""
    (folder / 'x.tar').write_bytes(tar_seed(tarfile.PAX_FORMAT))
    tar_index(str(folder / 'x.tar'))
    return (folder / 'x.tar.index.npz').read_bytes()


def read_tar_index(path: Path) -> dict[str, bytes]:
    """The images of a tar by an index that may be anyone's."""
    source = TarShards(str(path).removesuffix('.index.npz'))
    return {source.image_id(i): source.load(i)[0] for i in range(len(source))}


def square() -> bytes:
    """Compressed run lengths of a square."""
    from pycocotools import mask as coco_mask

    mask = np.zeros(SIZE, np.uint8, order='F')
    mask[5:15, 5:20] = 1
    return coco_mask.encode(mask)['counts']


def coco_seed() -> bytes:
    """Images, boxes, masks of every spelling, captions."""
    polygon = [[5, 5, 20, 5, 20, 15, 5, 15]]
    runs = dict(size=list(SIZE), counts=[5 * 30 + 5, *[10, 20] * 14, 10, 20 * 30 + 15])
    text = dict(size=list(SIZE), counts=square().decode())
    images = [dict(id=i + 7, file_name=n, height=SIZE[0], width=SIZE[1]) for i, n in enumerate(NAMES)]
    entries = [
        dict(id=k, image_id=7 + k % 3, category_id=1 + k % 2, bbox=[5, 5, 15, 10.5], segmentation=code,
             score=0.5, caption='a dog', iscrowd=int(k == 4))
        for k, code in enumerate((polygon, runs, text, polygon, runs, polygon))
    ]  # fmt: skip
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    return json.dumps(dict(images=images, annotations=entries, categories=categories)).encode()


def coco_folder(folder: Path) -> None:
    """The images that the files name."""
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded('JPEG'))


def _check_boxes(boxes: np.ndarray, size: tuple[int, int]) -> None:
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).reshape(-1, 4).T
    inside = (x1 >= 0) & (x1 < x2) & (x2 <= size[1]) & (y1 >= 0) & (y1 < y2) & (y2 <= size[0])
    require(bool(inside.all()), f'boxes outside of {size}, or none: {boxes}')


def read_coco_boxes(path: Path) -> object:
    """All boxes and masks."""
    found = CocoBoxes(path, masks=True)
    for name in found:
        proposals = found[name]
        _check_boxes(proposals.boxes, proposals.size)
        for mask in proposals.masks or ():
            require(run_lengths(mask).sum() == np.prod(proposals.size), 'a mask of another size')
    return len(found)


def _check_inside(paths: list, folder: Path) -> None:
    root = os.path.realpath(folder) + os.sep
    require(all(os.path.realpath(p).startswith(root) for p in paths), f'a path leaves {root}: {paths}')


def read_coco_source(path: Path) -> object:
    """Images and captions."""
    source = Coco(path.parent, path.name, captions=True)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    ids = [source.image_id(i) for i in range(len(source))]
    require(len(set(ids)) == len(ids), 'two images of one id')
    return [(name, source.texts(i)) for i, name in enumerate(ids)]


def read_coco_labels(path: Path) -> object:
    """Label maps and boxes."""
    part = open_coco(path).parts['all']
    _check_inside(list(part.images), path.parent)
    for i in range(len(part)):
        require(part.read(i).dtype == np.uint8, 'a label map of another type')
        boxes, labels = part.boxes(i)
        require(len(boxes) == len(labels) and bool(((boxes >= 0) & (boxes <= 1)).all()), f'boxes {boxes}')
    return len(part)


def read_coco_training(path: Path) -> object:
    """What fine-tuning trusts."""
    coco = read_training_coco(path)
    folder = image_folder(coco, path, None)
    _check_inside([folder / row['file_name'] for row in coco['images']], folder)
    return len(coco['annotations'])


def soco_seed() -> bytes:
    """Boxes by the image's stem."""
    return json.dumps({'a': [[1, 2, 10, 12], [0, 0, 5, 5]], 'b': [], 'c': [[3, 3, 1, 1]]}).encode()


def read_soco(path: Path) -> object:
    """All boxes."""
    found = SocoJson(path)
    for name in found._table:
        boxes = found(np.zeros((*SIZE, 3), np.uint8), name).boxes
        require(
            bool(np.isfinite(boxes).all()) and bool((boxes[:, 2:] >= boxes[:, :2]).all()), f'boxes {boxes}'
        )
    return len(found)


def read_generated(path: Path) -> object:
    """The files of a list."""
    found = read_list(path)
    _check_inside([each.file for rows in found.values() for each in rows], path.parent)
    return sorted(found)


def read_list_file(path: Path) -> object:
    """Images and labels."""
    source = ListFile(path.parent, path.name)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    return [(source.image_id(i), source.label(i)) for i in range(len(source))]


def read_captions(path: Path) -> object:
    """Images and captions."""
    source = CaptionTable(path.parent, path.name)
    _check_inside([source.load(i)[0] for i in range(len(source))], path.parent)
    return [(source.image_id(i), source.texts(i)) for i in range(len(source))]


def store_seed(folder: Path) -> bytes:
    """Boxes, scores, ids and masks of some images."""
    rng = np.random.default_rng(0)
    path = folder / 'made.arrow'
    with ProposalStore.write(path, dict(provider=dict(type='X'))) as writer:
        for name in (*NAMES, 'ü.png'):
            corner = rng.uniform(0, 15, (4, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(1, 15, corner.shape)], 1)
            masks = [dict(size=list(SIZE), counts=square())] * 4
            writer[name] = Proposals(
                boxes, SIZE, ids=rng.integers(0, 9, 4), scores=rng.uniform(size=4), masks=masks
            )
    return path.read_bytes()


def rewritten_store(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A store of strange values whose framing is right; compressed half of the time."""
    import pyarrow as pa

    stream = pa.ipc.open_file(pa.py_buffer(data))
    table = stream.read_all().to_pydict()
    column = list(table)[int(rng.integers(len(table)))]
    row = int(rng.integers(len(table[column])))
    strange = {
        'boxes': [[float('nan')] * 4] * 4, 'ids': [-1], 'scores': [float('nan')] * 4, 'masks': [b'oooo'] * 4,
        'width': -5, 'height': 2**31 - 1, 'image_id': '', 'crc32': 0,
    }  # fmt: skip
    table[column][row] = strange[column]
    meta = dict(stream.schema.metadata)
    if rng.random() < 0.3:
        header = json.loads(meta[b'densecl'])
        header[list(header)[int(rng.integers(len(header)))]] = [None, -1, 'x', [], {}][int(rng.integers(5))]
        meta[b'densecl'] = json.dumps(header)
    schema = stream.schema.with_metadata(meta)
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression='zstd' if rng.random() < 0.5 else None)
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(pa.Table.from_pydict(table, schema))
    return sink.getvalue().to_pybytes()


def read_store(path: Path) -> dict[str, tuple]:
    """All proposals."""
    store = ProposalStore.open(path)
    store.verify()
    found = {}
    for name in store:
        p = store[name]
        require(
            bool(np.isfinite(p.boxes).all()) and bool((p.boxes[:, 2:] >= p.boxes[:, :2]).all()), 'no boxes'
        )
        scores = None if p.scores is None else p.scores.tobytes()
        found[name] = p.boxes.tobytes(), p.size, p.ids.tobytes(), scores, str(p.masks)
    return found


def tensors() -> dict[str, torch.Tensor]:
    """A small state dict."""
    generator = torch.Generator().manual_seed(0)
    return {f'layer{i}.weight': torch.randn(4, 3, generator=generator) for i in range(4)} | {
        'n': torch.ones(2).long()
    }


def checkpoint_seeds() -> dict[str, bytes]:
    """What torch.save writes, in both forms, with and without what mmengine adds."""
    from argparse import Namespace

    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer([1.0, 2.0], [1, 1])
    rich = dict(
        state_dict=tensors(), meta=dict(epoch=3, name='x'), args=Namespace(lr=0.1), array=np.arange(5.0),
        message_hub=dict(log_scalars=dict(loss=history)), scalar=np.float64(0.5),
    )  # fmt: skip
    seeds = {}
    for name, content in (('plain', tensors()), ('rich', rich), ('branches', dict(student=tensors()))):
        for form in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=form)
            seeds[f'{name} {"zip" if form else "legacy"}'] = file.getvalue()
    return seeds


def torchscript_seed() -> bytes:
    """What torch.jit.save writes."""
    file = io.BytesIO()
    torch.jit.save(
        torch.jit.script(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))), file
    )
    return file.getvalue()


def rezipped(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The parts of a zip, one of them changed, with checksums that fit; compressed half of the time."""
    import zipfile

    try:
        source = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return CHANGES['random_block'](data, rng, other)
    names, file = source.namelist(), io.BytesIO()
    chosen = (
        names[int(rng.integers(len(names)))] if rng.random() < 0.5 else next(n for n in names if 'pkl' in n)
    )
    how = list(CHANGES)[int(rng.integers(len(CHANGES)))]
    with zipfile.ZipFile(
        file, 'w', zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED
    ) as target:
        for name in names:
            part = source.read(name)
            target.writestr(name, CHANGES[how](part, rng, other) if name == chosen and part else part)
    return file.getvalue()


def pickle_seeds() -> dict[str, bytes]:
    """Detectron2's form, in every protocol."""
    model = {name: tensor.numpy() for name, tensor in tensors().items()}
    return {f'protocol {p}': pickle.dumps(dict(model=model, __author__='x'), protocol=p) for p in range(1, 6)}


def pickle_memo(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Operations that ask for memory before the frame ends: a memo of 2^32 entries, bytes of 10^12."""
    huge = (b'r\xff\xff\xff\x7f', b'\x8e' + struct.pack('<Q', 10**12), b'\x8d' + struct.pack('<Q', 2**40))
    return b'\x80\x04N' + huge[int(rng.integers(3))] + data[2:]


def safetensors_seeds() -> dict[str, bytes]:
    """With metadata as exports write it."""
    from safetensors.torch import save

    return {'plain': save(tensors()), 'metadata': save(tensors(), dict(config='{"a": 1}', note='text'))}


def safetensors_header(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The json header changed, with the length that fits."""
    length = int.from_bytes(data[:8], 'little')
    how = list(JSON_CHANGES)[int(rng.integers(len(JSON_CHANGES)))]
    head = JSON_CHANGES[how](data[8 : 8 + length].rstrip(), rng, other)
    return len(head).to_bytes(8, 'little') + head + data[8 + length :]


def _check_tensors(found: dict, path: Path) -> dict[str, tuple]:
    size = sum(t.untyped_storage().nbytes() for t in found.values())
    require(size <= 64 * 2**20 + 8 * path.stat().st_size, f'{size} bytes of tensors')
    require(all(isinstance(n, str) and isinstance(t, torch.Tensor) for n, t in found.items()), 'no tensors')
    return {
        n: (t.dtype, tuple(t.shape), t.numpy().tobytes() if t.numel() < 1000 else None)
        for n, t in found.items()
    }


def read_tensors(path: Path) -> dict[str, tuple]:
    """The state dict of a file of weights."""
    return _check_tensors(read_weights(path).tensors, path)


def read_checkpoint(path: Path) -> object:
    """What a run resumes from."""
    found = load_checkpoint(path)
    return sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__


def maps_folder(folder: Path) -> None:
    """Feature maps of three images."""
    write_maps(folder, list(NAMES), [torch.randn(3, 2, 4, 5)], (2, 4, 5), dict(name='x'))


def read_maps(path: Path) -> object:
    """All maps."""
    maps = FeatureMaps(path.parent)
    for name in maps._rows:
        require(maps[name].dtype == torch.float16 and maps[name].ndim == 3, 'a map of another kind')
    return maps.shape


def permutation_seeds() -> dict[str, bytes]:
    """Permutations of nine cells."""
    rows = np.stack([np.random.default_rng(i).permutation(9) for i in range(6)])
    file = io.BytesIO()
    np.save(file, rows)
    return {'npy': file.getvalue(), 'text': '\n'.join(' '.join(map(str, r)) for r in rows).encode()}


def read_orders(path: Path) -> object:
    """All permutations."""
    rows = read_permutations(path, 9)
    require(rows.dtype == np.uint8 and bool((np.sort(rows, 1) == np.arange(9)).all()), 'no permutations')
    return rows.shape


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

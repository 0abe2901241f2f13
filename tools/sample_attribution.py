# ruff: noqa: E501  (a table cannot be wrapped)
"""Text of the bundled sample's ATTRIBUTION.md (used by make_sample.py)."""

import re
from pathlib import Path

HEADER = """\
# Attribution of the bundled sample

Photographs and annotations in this folder are **not** covered by the licence of densecl's code; each keeps its own,
listed here. Every photograph has been changed: resized (short side 256 pixels under `detection/`, 240 under
`bccd/`, 128 under `photos/`) and re-encoded as JPEG. Nothing here implies that an author endorses densecl.

| folder | what | licence |
|---|---|---|
| `detection/train`, `detection/val` | Flickr photographs that are part of COCO 2017 | one per photograph, see the table |
| `detection/annotations` | boxes and masks of COCO 2017 (COCO Consortium, https://cocodataset.org), rescaled, regrouped into the 12 supercategories | CC BY 4.0, https://creativecommons.org/licenses/by/4.0/ |
| `segmentation/`, `things/` | class maps drawn from those masks | CC BY 4.0, as above |
| `bccd/` | microscopy images of blood cells and their boxes, BCCD Dataset (shenggan), https://github.com/Shenggan/BCCD_Dataset | MIT, text below |
| `photos/clothing` | Clothing dataset (A. Grigorev and contributors), https://github.com/alexeygrigorev/clothing-dataset | CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/ |
| `photos/grocery` | Grocery Store Dataset (M. Klasson, C. Zhang, H. Kjellstr\u00f6m, WACV 2019), https://github.com/marcusklasson/GroceryStoreDataset | MIT, text below |

COCO: T.-Y. Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014.
"""

COCO = """
## COCO photographs

The licence is the one COCO records for the photograph (field `license` of its annotation file). COCO does not
record the authors' names; the Flickr page leads to the author, as far as the photograph is still online.
Photographs under CC BY-SA stay under CC BY-SA in their resized form.

| file | licence | Flickr page | Flickr image | COCO copy |
|---|---|---|---|---|
"""

MIT = """
## Grocery Store Dataset and BCCD Dataset: MIT licence

The repository of the Grocery Store Dataset was recorded as MIT-licensed when the photographs were collected; its
licence file itself was not archived with them. Its copyright line below is therefore ours, after the repository's
owner and the paper's first author.

    Copyright (c) Marcus Klasson (Grocery Store Dataset)
    Copyright (c) 2017 shenggan (BCCD Dataset)

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
    documentation files (the "Software"), to deal in the Software without restriction, including without limitation
    the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
    to permit persons to whom the Software is furnished to do so, subject to the following conditions:

    The above copyright notice and this permission notice shall be included in all copies or substantial portions of
    the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
    THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
    AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
    CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
    IN THE SOFTWARE.
"""

CELLS = """
## Blood cells

| file | name in the source repository, folder BCCD/JPEGImages |
|---|---|
"""

PHOTOS = """
## Photographs for pretraining

| file | path in the source repository |
|---|---|
"""


def attribution(splits: dict[str, dict], cells: dict[str, dict], photos: list[dict]) -> str:
    """The whole document: ``splits`` and ``cells`` are COCO dictionaries by split, ``photos`` rows of the manifest."""
    rows = [coco_row(split, image, coco) for split, coco in splits.items() for image in coco['images']]
    text = HEADER + COCO + '\n'.join(rows) + '\n' + MIT + CELLS
    named = [image for coco in cells.values() for image in coco['images']]
    text += (
        '\n'.join(f'| bccd/{image["file_name"]} | {image["original"]} |' for image in named) + '\n' + PHOTOS
    )
    return text + '\n'.join(photo_row(row) for row in photos) + '\n'


def coco_row(split: str, image: dict, coco: dict) -> str:
    licence = next(entry for entry in coco['licenses'] if entry['id'] == image['license'])
    flickr_id = re.search(r'/(\d+)_[0-9a-f]+(_\w)?\.jpg$', image['flickr_url']).group(1)
    page = f'https://www.flickr.com/photo.gne?id={flickr_id}'
    return (
        f'| detection/{split}/{image["file_name"]} | {licence_name(licence)} | {page} '
        f'| {image["flickr_url"]} | {image["coco_url"]} |'
    )


def licence_name(licence: dict) -> str:
    short = {4: 'CC BY 2.0', 5: 'CC BY-SA 2.0'}.get(licence['id'], licence['name'])
    return f'[{short}]({licence["url"]})'


def photo_row(row: dict) -> str:
    # the first part of source_path is the name under which the repository was fetched
    path = Path(*Path(row['source_path']).parts[1:]).as_posix()
    return f'| photos/{row["source"]}/{row["name"]} | {path} |'

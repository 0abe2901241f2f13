"""Pictures of what a fine-tuned detector or segmentor finds, beside the ground truth."""

from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from densecl.datasets.decode import decode_image
from densecl.registry import HOOKS, TRANSFORMS

from .canvas import save_image, side_by_side, titled
from .predictions import draw_detections, draw_segmentation
from .views import as_picture


@HOOKS.register_module()
class PredictionHook(Hook):
    """Write PNGs while testing: ground truth (where there is some) beside the prediction.

    Works on the samples of mmdet (boxes, masks) and of mmseg (label maps).

    Args:
        out_dir: where the pictures go.
        count: number of pictures.
        score_thr: lowest score of a drawn instance; where none reaches it, the best three are.
        max_instances: most instances drawn in a picture.
        decoder: config of what reads images other than RGB, ``dict(type='SensorDecoder', channels=4)``; each
            is stretched by its own percentiles, see :func:`densecl.visualization.as_picture`.
    """

    def __init__(
        self,
        out_dir: str,
        count: int = 16,
        score_thr: float = 0.3,
        max_instances: int = 20,
        decoder: dict | None = None,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.count = count
        self.score_thr = score_thr
        self.max_instances = max_instances
        self.decode = TRANSFORMS.build(decoder) if decoder else decode_image
        self._drawn = 0

    def before_test(self, runner) -> None:
        """Start counting anew."""
        self._drawn = 0

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Draw the samples of a batch until ``count`` is reached."""
        if not is_main_process():
            return
        meta = runner.test_dataloader.dataset.metainfo
        palette = meta.get('palette')
        palette = palette if isinstance(palette, list | tuple) else None  # mmdet allows names of palettes
        for sample in outputs[: self.count - self._drawn]:
            image = as_picture(self.decode(sample.img_path))
            sheet = self.draw(image, sample, meta.get('classes'), palette)
            name = f'{self._drawn:03d}_{Path(sample.img_path).stem}.png'
            save_image(self.out_dir / name, sheet)
            self._drawn += 1

    def after_test(self, runner) -> None:
        """Say where the pictures are."""
        if is_main_process():
            runner.logger.info(f'{self._drawn} pictures of predictions in {self.out_dir}')

    def draw(self, image: np.ndarray, sample, classes=None, palette=None) -> np.ndarray:
        """The sheet of one sample: ground truth, then prediction.

        Args:
            image: uint8 (H, W, 3), RGB, at the size of the original.
            sample: an mmdet or mmseg data sample.
            classes: names.
            palette: RGB of each class.
        """
        if 'pred_sem_seg' not in sample:
            return side_by_side(self._detection_tiles(image, sample, classes, palette))
        tiles = []
        for key, title in (('gt_sem_seg', 'ground truth'), ('pred_sem_seg', 'prediction')):
            if key in sample:
                labels = sample.get(key).data.squeeze(0).cpu().numpy()
                tiles.append(titled(draw_segmentation(image, labels, classes, palette), title))
        return side_by_side(tiles)

    def _detection_tiles(self, image, sample, classes, palette) -> list[np.ndarray]:
        truth, found = sample.get('gt_instances'), sample.pred_instances
        tiles = []
        if truth is not None and 'bboxes' in truth and _fits(truth, image):
            drawn = draw_detections(image, *_arrays(truth), classes=classes, palette=palette)
            tiles.append(titled(drawn, 'ground truth'))
        found = found[found.scores.argsort(descending=True)]
        count = int((found.scores >= self.score_thr).sum())
        title = f'prediction, scores from {self.score_thr:g}'
        if count == 0:
            title = f'prediction: none scores {self.score_thr:g}, best three'
        found = found[: min(count or 3, self.max_instances)]
        drawn = draw_detections(image, *_arrays(found), classes=classes, palette=palette)
        return [*tiles, titled(drawn, title)]


def _fits(instances, image: np.ndarray) -> bool:
    """Whether annotations are in pixels of the original (pipelines may leave them resized)."""
    masks = instances.get('masks')
    return masks is None or (masks.height, masks.width) == image.shape[:2]


def _arrays(instances) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Boxes, labels, scores and masks as numpy."""
    boxes = getattr(instances.bboxes, 'tensor', instances.bboxes).detach().cpu().numpy()
    scores, masks = instances.get('scores'), instances.get('masks')
    if masks is not None:
        masks = masks.to_ndarray() if hasattr(masks, 'to_ndarray') else masks.cpu().numpy()
    scores = None if scores is None else scores.detach().cpu().numpy()
    return boxes, instances.labels.cpu().numpy(), scores, masks

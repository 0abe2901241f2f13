"""``MultiView``: one image becomes several randomly cropped, flipped and recoloured views."""

from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .recipe import DrawnView, ViewRecipe, build_from
from .sample import checked_image, make_sample

_TRIES = 10


@TRANSFORMS.register_module()
class MultiView:
    """Make the views of an image: random resized crop, flip and photometric augmentation.

    All random numbers come from ``results['rng']``, in an order that depends on the recipes alone (with
    ``min_overlap`` and ``proposals`` also on the crops drawn).

    Args:
        views: recipes, see :class:`ViewRecipe`; one for all views, one each for asymmetric pairs,
            or several with their counts for multi-crop. An entry with a ``type`` is another kind
            of recipe, ``dict(type='JigsawPatches')`` for example.
        photometric_on: ``device`` leaves the drawn parameters in the sample for the data
            preprocessor; ``worker`` applies the same parameters here.
        min_overlap: the second view is drawn anew, at most nine times, until at least this share of its
            crop lies in the first one's; 0.01 in SlotCon's code. The last draw is kept whatever it is.
        proposals: config of what chooses the objects of the sample, ``dict(type='SelectProposals')`` for
            example, or None. Whatever it is, it has one method, ``choose(results, draw) -> ObjectViews``:
            ``draw()`` draws all views anew, as often as it is called; ``results['proposals']`` are the
            objects, in pixels of ``results['image']`` as the views' boxes are; what is random comes from
            ``results['rng']``; the answer is the views to keep, and for each of them its
            :class:`densecl.structures.ViewProposals` (and cutouts), in view pixels.
    """

    def __init__(
        self,
        views: list[dict],
        photometric_on: str = 'device',
        min_overlap: float = 0.0,
        proposals: dict | None = None,
    ) -> None:
        if photometric_on not in ('device', 'worker'):
            raise ValueError(f"photometric_on must be 'device' or 'worker', got {photometric_on!r}")
        if not views:
            raise ValueError('views must name at least one recipe, got none')
        self.recipes = [_recipe(view, f'views[{i}]') for i, view in enumerate(views)]
        self.photometric_on = photometric_on
        self.min_overlap = min_overlap
        if not 0 <= min_overlap <= 1:
            raise ValueError(f'min_overlap is a share of the crop, in [0, 1], got {min_overlap!r}')
        plain = all(isinstance(recipe, ViewRecipe) for recipe in self.recipes[:2])
        if min_overlap and not (plain and sum(recipe.count for recipe in self.recipes[:2]) > 1):
            raise ValueError('min_overlap needs two views whose recipes have no type')
        if min_overlap and any(_crop_of(recipe) is not None for recipe in self.recipes):
            raise ValueError('min_overlap draws a view anew; it does not go together with crop_of')
        self.objects = TRANSFORMS.build(proposals) if isinstance(proposals, dict) else proposals

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample.

        Args:
            results: ``image`` (uint8 (H, W, 3) RGB array) and ``rng`` (numpy ``Generator``) are
                needed; ``index``, ``path``, ``label`` and ``source_size`` (height and width of the
                original, where the decoder has reduced it) are used where present; with
                ``proposals`` also :class:`densecl.structures.Proposals` of the image.

        Returns:
            The sample; its boxes are in pixels of the original.
        """
        image, rng = checked_image(results, 'MultiView'), results['rng']
        if self.objects is None:
            return make_sample(results, self._draw(image, rng), self.photometric_on)
        found = self.objects.choose(results, lambda: self._draw(image, rng))
        return make_sample(
            results, found.views, self.photometric_on, found.proposals, found.cutouts
        )

    def _draw(self, image, rng) -> list[DrawnView]:
        drawn: list[DrawnView] = []
        for recipe in self.recipes:
            of = _crop_of(recipe)
            if of is None:
                drawn += recipe.draw(image, rng)
            elif 0 <= of < len(drawn):
                drawn += recipe.draw(image, rng, drawn[of].box)
            else:
                raise ValueError(f'crop_of={of} of view {len(drawn)} must name an earlier view')
        if self.min_overlap:
            drawn[1] = self._overlapping(drawn, image, rng)
        return drawn

    def _overlapping(self, drawn: list[DrawnView], image, rng) -> DrawnView:
        """The second view, or another draw of its recipe that shares enough with the first."""
        recipe = self.recipes[0] if self.recipes[0].count > 1 else self.recipes[1]
        view = drawn[1]
        for _ in range(_TRIES - 1):
            if _share_inside(view.box, drawn[0].box) >= self.min_overlap:
                break
            view = recipe.draw(image, rng)[0]
        return view

    def __repr__(self) -> str:
        overlap = f', min_overlap={self.min_overlap}' if self.min_overlap else ''
        objects = f', proposals={self.objects}' if self.objects else ''
        return (
            f'MultiView(recipes={self.recipes}, photometric_on={self.photometric_on!r}'
            f'{overlap}{objects})'
        )


def _crop_of(recipe) -> int | None:
    return getattr(recipe, 'crop_of', None)


def _share_inside(box: tuple, other: tuple) -> float:
    """The share of a box's area that lies inside another."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def _recipe(view: dict, name: str):
    """Anything with ``draw(image, rng) -> list[DrawnView]``."""
    if 'type' not in view:
        return build_from(ViewRecipe, view, name)
    recipe = TRANSFORMS.build(view)
    if not hasattr(recipe, 'draw'):
        raise ValueError(
            f'{name}: {view["type"]!r} cannot be a recipe of MultiView, it has no draw(image, rng); '
            "leave type out for plain views, or use type='JigsawPatches'"
        )
    return recipe

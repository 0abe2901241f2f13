"""``MultiView``: makes several randomly cropped, flipped and recoloured views of one image."""

from densecl.building import construct
from densecl.messages import check_choice
from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .drawn import DrawnView, fit_to_photo
from .recipe import ViewRecipe
from .sample import checked_image, make_sample

_TRIES = 10


@TRANSFORMS.register_module()
class MultiView:
    """Make the views of an image: random resized crop, flip and photometric augmentation.

    All random numbers come from ``results['rng']``. Their order depends only on the recipes; with
    ``min_overlap`` and ``regions`` also on the drawn crops.

    Args:
        views: recipes, see :class:`ViewRecipe`: one for all views, one each for asymmetric pairs, or several
            with their counts for multi-crop. An entry with a ``type`` is another kind of recipe,
            ``dict(type='JigsawPatches')`` for example.
        photometric_on: ``device`` leaves the drawn parameters in the sample for the data preprocessor.
            ``worker`` applies the same parameters here, to 8-bit RGB; the preprocessor still gets gamma,
            noise in units of ``std``, all operators after these, and all parameters of other images.
        min_overlap: the second view is drawn again, at most nine times, until at least this share of its
            crop lies in the first one's; 0.01 in SlotCon's code. The last draw is always kept.
        regions: name -> config of a selector, ``dict(objects=dict(type='SelectBoxes'))`` for example. A
            selector has one method, ``choose(results, views)``. It returns, for each of the V
            :class:`DrawnView`, its :class:`densecl.structures.ViewRegions` in view pixels, or None. It draws
            from ``results['rng']``, after the views are drawn. One selector may have ``redraws = True``: it
            is called first, as ``choose(results, draw)``. Each ``draw()`` draws all views again. It returns
            :class:`ChosenViews`: the views to keep, their regions, and cutouts.
    """

    takes_photo = True

    def __init__(
        self,
        views: list[dict],
        photometric_on: str = 'device',
        min_overlap: float = 0.0,
        regions: dict[str, dict] | None = None,
    ) -> None:
        check_choice('photometric_on', photometric_on, ('device', 'worker'))
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
        self.selectors = {name: _selector(config, name) for name, config in (regions or {}).items()}
        self.redrawing = _redrawing(self.selectors)
        if any(map(_of_generated, self.recipes)) and (regions or min_overlap):
            raise ValueError(
                'MultiView: regions and min_overlap are places of the photo, which views with '
                'generated=True do not have'
            )

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample.

        Args:
            results: required are ``image`` (uint8 (H, W, 3) RGB array, a
                :class:`densecl.datasets.decode.Photo`, or the output of the data set's decoder) and ``rng``
                (numpy ``Generator``). Used if present: ``index``, ``path``, ``label``, ``channels`` (set by a
                data set with a decoder) and ``source_size`` (height and width of the original, if the image
                was reduced). Some selectors need ``proposals``, the image's
                :class:`densecl.structures.Proposals`.

        Returns:
            The sample; its boxes are in pixels of the original.
        """
        image, rng = checked_image(results, 'MultiView'), results['rng']
        regions, cutouts = {}, None

        def draw() -> list[DrawnView]:
            return fit_to_photo(image, self._draw(image, rng, results))

        if self.redrawing is None:
            views = draw()
        else:
            selector = self.selectors[self.redrawing]
            views, regions[self.redrawing], cutouts = selector.choose(results, draw)
        for name, selector in self.selectors.items():
            if name != self.redrawing:
                regions[name] = selector.choose(results, views)
        return make_sample(results, views, self.photometric_on, regions, cutouts)

    def check_images(self, channels: int, dtype: str | None) -> None:
        """Refuse recipes that cannot work on a decoder's images; see :meth:`Photometric.check_images`."""
        for recipe in self.recipes:
            if hasattr(recipe, 'check_images'):
                recipe.check_images(channels, dtype)

    def _draw(self, image, rng, results: dict) -> list[DrawnView]:
        drawn: list[DrawnView] = []
        for recipe in self.recipes:
            of = _crop_of(recipe)
            if _of_generated(recipe):
                drawn += _draw_generated(recipe, rng, results)
            elif of is None:
                drawn += recipe.draw(image, rng)
            elif 0 <= of < len(drawn) and not drawn[of].generated:
                drawn += recipe.draw(image, rng, drawn[of])
            else:
                raise ValueError(f'crop_of={of} of view {len(drawn)} must name an earlier view of the photo')
        if self.min_overlap:
            drawn[1] = self._overlapping(drawn, image, rng)
        return drawn

    def _overlapping(self, drawn: list[DrawnView], image, rng) -> DrawnView:
        """The second view, drawn again until it shares enough with the first."""
        recipe = self.recipes[0] if self.recipes[0].count > 1 else self.recipes[1]
        view = drawn[1]
        for _ in range(_TRIES - 1):
            if _share_inside(view.box, drawn[0].box) >= self.min_overlap:
                break
            view = recipe.draw(image, rng)[0]
        return view

    def __repr__(self) -> str:
        overlap = f', min_overlap={self.min_overlap}' if self.min_overlap else ''
        regions = f', regions={self.selectors}' if self.selectors else ''
        return f'MultiView(recipes={self.recipes}, photometric_on={self.photometric_on!r}{overlap}{regions})'


def _selector(config: dict, name: str):
    """Build a selector: an object with ``choose(results, views) -> list[ViewRegions | None]``."""
    selector = TRANSFORMS.build(config) if isinstance(config, dict) else config
    if not hasattr(selector, 'choose'):
        raise ValueError(
            'MultiView: regions must be name -> config of a selector, such as '
            f"regions=dict(objects=dict(type='SelectBoxes')), got {name}={config!r}"
        )
    return selector


def _redrawing(selectors: dict) -> str | None:
    """The name of the selector that may draw the views again."""
    names = [name for name, selector in selectors.items() if getattr(selector, 'redraws', False)]
    if len(names) > 1:
        raise ValueError(
            f'MultiView: regions {", ".join(names)} may each draw the views again, which one selector alone '
            'can do; keep one of them'
        )
    return names[0] if names else None


def _crop_of(recipe) -> int | None:
    return getattr(recipe, 'crop_of', None)


def _of_generated(recipe) -> bool:
    return getattr(recipe, 'generated', False)


def _draw_generated(recipe: ViewRecipe, rng, results: dict) -> list[DrawnView]:
    """Views of the photo's generated image."""
    if 'generated' not in results:
        raise ValueError(
            'views with generated=True need generated images: set '
            "dataset.generated=dict(files='.generated/{stem}_*')"
        )
    return [view._replace(generated=True) for view in recipe.draw(results['generated'], rng)]


def _share_inside(box: tuple, other: tuple) -> float:
    """The share of a box's area that lies inside another."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def _recipe(view: dict, name: str):
    """Build a recipe: an object with ``draw(image, rng) -> list[DrawnView]``."""
    if 'type' not in view:
        return construct(ViewRecipe, view, name)
    recipe = TRANSFORMS.build(view)
    if not hasattr(recipe, 'draw'):
        raise ValueError(
            f'{name}: {view["type"]!r} cannot be a recipe of MultiView, it has no draw(image, rng); '
            "leave type out for plain views, or use type='JigsawPatches'"
        )
    return recipe

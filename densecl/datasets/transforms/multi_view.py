"""``MultiView``: one image becomes several randomly cropped, flipped and recoloured views."""

from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .recipe import ViewRecipe, build_from
from .sample import checked_image, make_sample


@TRANSFORMS.register_module()
class MultiView:
    """Make the views of an image: random resized crop, flip and photometric augmentation.

    All random numbers come from ``results['rng']``, in an order that depends on the recipes alone.

    Args:
        views: recipes, see :class:`ViewRecipe`; one for all views, one each for asymmetric pairs,
            or several with their counts for multi-crop. An entry with a ``type`` is another kind
            of recipe, ``dict(type='JigsawPatches')`` for example.
        photometric_on: ``device`` leaves the drawn parameters in the sample for the data
            preprocessor; ``worker`` applies the same parameters here.
    """

    def __init__(self, views: list[dict], photometric_on: str = 'device') -> None:
        if photometric_on not in ('device', 'worker'):
            raise ValueError(f"photometric_on must be 'device' or 'worker', got {photometric_on!r}")
        if not views:
            raise ValueError('views must name at least one recipe, got none')
        self.recipes = [_recipe(view, f'views[{i}]') for i, view in enumerate(views)]
        self.photometric_on = photometric_on

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample.

        Args:
            results: ``image`` (uint8 (H, W, 3) RGB array) and ``rng`` (numpy ``Generator``) are
                needed; ``index``, ``path``, ``label`` and ``source_size`` (height and width of the
                original, where the decoder has reduced it) are used where present.

        Returns:
            The sample; its boxes are in pixels of the original.
        """
        image, rng = checked_image(results, 'MultiView'), results['rng']
        drawn = [view for recipe in self.recipes for view in recipe.draw(image, rng)]
        return make_sample(results, drawn, self.photometric_on)

    def __repr__(self) -> str:
        return f'MultiView(recipes={self.recipes}, photometric_on={self.photometric_on!r})'


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

"""Tells the model the number of images in the data set, and the tokenizer."""

from mmengine.hooks import Hook

from densecl.engine.wrapped import unwrap
from densecl.models.text import check_tokenizer
from densecl.registry import HOOKS


@HOOKS.register_module()
class DataSizeHook(Hook):
    """Gives the number of images to every part of the model that keeps state per image (``set_images``).

    It runs before a checkpoint is loaded, so that memory banks have the size of the saved ones.
    """

    def before_run(self, runner) -> None:
        """Call ``set_images(images)`` of each module that has it; text towers check the tokenizer.

        Raises:
            ValueError: a part was made for fewer images than the data set has, or for another tokenizer.
        """
        dataset = runner.train_loop.dataloader.dataset
        images = len(dataset)
        tokenizer = getattr(getattr(dataset, 'captions', None) or dataset, 'tokenizer', None)
        for name, module in unwrap(runner.model).named_modules():
            try:
                check_tokenizer(module, tokenizer)
                if hasattr(module, 'set_images'):
                    module.set_images(images)
            except ValueError as error:
                raise ValueError(f'model.{name}: {error}') from error

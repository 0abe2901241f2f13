"""Tells the model what it has to know of the data: how many images there are, and the tokenizer."""

from mmengine.hooks import Hook

from densecl.engine.wrapped import unwrap
from densecl.models.text import check_tokenizer
from densecl.registry import HOOKS


@HOOKS.register_module()
class DataSizeHook(Hook):
    """Gives every part of the model that keeps state per image (``set_images``) the size of the data set.

    It comes before a checkpoint is loaded, so that memories have the size of those that were saved.
    """

    def before_run(self, runner) -> None:
        """Call ``set_images(images)`` where a module has it; text towers look at the tokenizer.

        Raises:
            ValueError: a part was made for fewer images than there are, or for another tokenizer.
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

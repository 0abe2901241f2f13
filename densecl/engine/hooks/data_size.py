"""Tells the model how many images there are."""

from mmengine.hooks import Hook

from densecl.registry import HOOKS

from .momentum import unwrap


@HOOKS.register_module()
class DataSizeHook(Hook):
    """Gives every part of the model that keeps state per image (``set_images``) the size of the data set.

    It comes before a checkpoint is loaded, so that memories have the size of those that were saved.
    """

    def before_run(self, runner) -> None:
        """Call ``set_images(images)`` where a module has it.

        Raises:
            ValueError: a part was made for fewer images than there are.
        """
        images = len(runner.train_loop.dataloader.dataset)
        for name, module in unwrap(runner.model).named_modules():
            if hasattr(module, 'set_images'):
                try:
                    module.set_images(images)
                except ValueError as error:
                    raise ValueError(f'model.{name}: {error}') from error

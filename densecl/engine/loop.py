"""An epoch loop in which a resumed run continues exactly where it stopped."""

import re
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.runner import EpochBasedTrainLoop

from densecl.datasets.unreadable import DataError, by_reason, write_list
from densecl.distributed import rank, world_size
from densecl.registry import LOOPS


def step_seed(seed: int | None, iteration: int, rank: int) -> int:
    """The seed of torch's random state for an iteration."""
    return ((seed or 0) * 1_000_003 + iteration * 1009 + rank) % 2**63


@LOOPS.register_module()
class PretrainLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, with two differences.

    First, if a run is resumed within an epoch, the loop asks the sampler for the remaining samples only;
    mmengine loads the samples already seen and drops them. Second, torch's random state is set before each
    iteration from (seed, iteration, rank), so a model draws the same random numbers in a resumed run.

    Raises:
        ValueError: the data do not fill a single batch, the processes have different numbers of steps, or the
            sampler cannot start within an epoch.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        loader = self.dataloader
        if len(loader) == 0:
            raise ValueError(
                f'{len(loader.dataset)} images do not fill one batch of {loader.batch_size} on '
                f'{world_size()} process(es): lower train_dataloader.batch_size'
            )
        if loader.batch_size is None or not hasattr(loader.sampler, 'set_start'):
            raise ValueError(
                "PretrainLoop needs train_dataloader.sampler=dict(type='PretrainSampler') and "
                f'batch_size; the sampler is {type(loader.sampler).__name__}'
            )

    def run(self) -> torch.nn.Module:
        """Train, from the first or the resumed iteration."""
        self._check_lengths()
        self._check_position()
        return super().run()

    def _check_lengths(self) -> None:
        """Refuse different numbers of steps: processes with more steps would wait for ever for the others."""
        steps = [len(self.dataloader)] * world_size()
        if world_size() > 1:
            dist.all_gather_object(steps, len(self.dataloader))
        if len(set(steps)) > 1:
            raise ValueError(
                f'the processes have {steps} steps an epoch: their data differ. Give all of them the same '
                'images (train_dataloader.dataset.data_root on every machine)'
            )

    def _check_position(self) -> None:
        """If the number of steps per epoch has changed, a resumed run continues at the start of an epoch."""
        steps = len(self.dataloader)
        done = self._iter - self._epoch * steps
        known = self.runner.message_hub.runtime_info.get('steps_per_epoch', steps)
        if known != steps or not 0 <= done <= steps:
            self._iter = self._epoch * steps
            self.runner.logger.warning(
                f'the resumed run had {known} steps an epoch, this one has {steps} (other batch size, '
                f'processes or data): going on at the start of epoch {self._epoch + 1}'
            )
        self.runner.message_hub.update_info('steps_per_epoch', steps)

    def run_epoch(self) -> None:
        """Run the rest of the current epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        sampler = self.dataloader.sampler
        sampler.set_epoch(self._epoch)
        sampler.set_start(min(done * self.dataloader.batch_size, len(sampler)))
        try:
            if done < len(self.dataloader):
                for idx, batch in enumerate(self.dataloader, start=done):
                    self.run_iter(idx, batch)
        except DataError as error:  # an error of a data worker has the worker's traceback in its message
            last = str(error).strip().splitlines()[-1]
            raise DataError(re.sub(r'^[\w.]+Error: ', '', last)) from None
        finally:
            self._report_unreadable()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _report_unreadable(self) -> None:
        """List unreadable images in the work directory, one file per process, as others may fail earlier."""
        found = getattr(self.dataloader.dataset, 'unreadable', None)
        if found:
            name = f'unreadable_images.rank{rank()}.csv' if rank() else 'unreadable_images.csv'
            path = Path(self.runner.work_dir) / name
            write_list(path, found)
            self.runner.logger.warning(
                f'{len(found)} unreadable images were replaced so far ({by_reason(found.values())}); '
                f'{path} lists all'
            )

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Run one iteration."""
        torch.manual_seed(step_seed(self.runner.seed, self._iter, rank()))
        super().run_iter(idx, data_batch)

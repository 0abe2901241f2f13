"""An epoch loop that a resumed run enters exactly where it left."""

import torch
from mmengine.runner import EpochBasedTrainLoop

from densecl.distributed import rank
from densecl.registry import LOOPS


@LOOPS.register_module()
class PretrainLoop(EpochBasedTrainLoop):
    """mmengine's epoch loop, with two differences.

    Resumed in the middle of an epoch it asks the sampler for the remaining samples at once, instead of
    loading and dropping those already seen. And before each iteration torch's random state is set
    from (seed, iteration, rank), so that what a model draws is the same in a resumed run.
    """

    def run_epoch(self) -> None:
        """Run the rest of the present epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        sampler = self.dataloader.sampler
        sampler.set_epoch(self._epoch)
        sampler.set_start(done * self.dataloader.batch_size)
        if done < len(self.dataloader):
            for idx, batch in enumerate(self.dataloader, start=done):
                self.run_iter(idx, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Run one iteration."""
        seed = (self.runner.seed or 0) * 1_000_003 + self._iter * 1009 + rank()
        torch.manual_seed(seed % 2**63)
        super().run_iter(idx, data_batch)

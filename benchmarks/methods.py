#!/usr/bin/env python
"""What a step of each method costs, beside the first one named and beside its own bare encodings.

    python benchmarks/methods.py configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py \
        configs/pixpro/pixpro_resnet50_8xb128-coslr-100e_in1k.py ... --batch 8

Every config makes its own views of the bundled photos. Bare encodings are what the method cannot avoid:
the backbone's forward and backward passes over the online views, its forward passes over the target's.
Methods take turns in each round, so that a noisy machine disturbs all of them alike. Memory is what a step
keeps for its backward pass, in MiB.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction

from densecl.datasets import collate_views
from densecl.engine.one_line import call
from densecl.registry import DATASETS, MODELS
from densecl.sample import sample_root


class Contestant:
    """One method: its model, its optimiser and a batch of its own views."""

    def __init__(self, path: Path, args: argparse.Namespace) -> None:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(args.cfg_options or {})
        self.name, self.device = path.stem, args.device
        dataset = cfg.train_dataloader.dataset
        dataset.update(data_root=str(sample_root() / 'photos'), _scope_='densecl')
        if dataset.get('proposals', {}).get('type') == 'ProposalStore':  # of other photos
            dataset.proposals = dict(type='Felzenszwalb')  # boxes and masks
        data = DATASETS.build(dataset)
        batch = collate_views([data[i] for i in range(args.batch)])
        self.model = MODELS.build(dict(cfg.model, _scope_='densecl'))
        if hasattr(self.model, 'init_target'):
            self.model.init_target()
        for module in self.model.modules():
            if hasattr(module, 'set_images'):
                module.set_images(len(data))
        self.model.to(self.device).train()
        self.model.clock.total = self.model.clock.epoch = 1000
        self.views = self.model.data_preprocessor(batch, True)['inputs']
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)
        self.dtype = {'bf16': torch.bfloat16, 'fp16': torch.float16}.get(args.amp)

    def forward(self) -> torch.Tensor:
        """The sum of the losses."""
        with self.autocast():
            losses = self.model(self.views, mode='loss')
        return sum(v for k, v in losses.items() if k.startswith('loss'))

    def autocast(self):
        """As ``--amp`` says."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, dtype=self.dtype, enabled=self.dtype is not None)

    def step(self) -> None:
        """One optimiser step, as the runner does it."""
        self.forward().backward()
        self.model.before_optimizer_step()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.after_optimizer_step()

    def bare(self) -> None:
        """The passes of the backbone alone, over the views that the heads ask for."""
        online, target = self.model.branches(self.views)
        asked = {side: self.model._asked(self.views, side) for side in ('online', 'target')}
        shared = online is target
        with self.autocast():
            wanted = sorted(asked['online'] | asked['target'] if shared else asked['online'])
            levels = [level for v in wanted for level in online[v]]
            if not shared:
                for v in sorted(asked['target']):
                    target[v]
        sum(level.float().mean() for level in levels).backward()
        self.optimizer.zero_grad()

    def kept(self) -> int:
        """Bytes that a forward pass keeps for the backward pass."""
        storages: dict[int, int] = {}
        parameters = {p.untyped_storage().data_ptr() for p in self.model.parameters()}

        def pack(x: torch.Tensor) -> torch.Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in parameters:
                storages[storage.data_ptr()] = storage.nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            self.forward()
        return sum(storages.values())


def seconds(call: Callable[[], None], cuda: bool) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', type=Path)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--amp', choices=['none', 'bf16', 'fp16'], default='none')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings of all configs')
    args = parser.parse_args()
    cuda = torch.device(args.device).type == 'cuda'
    contestants = [Contestant(path, args) for path in args.configs]
    kept = {c.name: c.kept() / 2**20 for c in contestants}
    times: dict[str, dict[str, list[float]]] = {c.name: {'step': [], 'bare': []} for c in contestants}
    for turn in range(args.rounds + 1):
        for c in contestants:
            pair = {'step': seconds(c.step, cuda), 'bare': seconds(c.bare, cuda)}
            if turn:  # the first round warms up
                for kind, value in pair.items():
                    times[c.name][kind].append(value)
    first = statistics.median(times[contestants[0].name]['step'])
    print(f'batch {args.batch}, {args.device}, amp {args.amp}, {torch.get_num_threads()} threads\n')
    print('| method | step, ms | of the first | of its bare encodings | kept for backward, MiB |')
    print('|---|---|---|---|---|')
    for name, measured in times.items():
        step, bare = (statistics.median(measured[kind]) for kind in ('step', 'bare'))
        print(f'| {name} | {1e3 * step:.0f} | {step / first:.2f} | {step / bare:.2f} | {kept[name]:.0f} |')


if __name__ == '__main__':
    call(main)

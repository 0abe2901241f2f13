"""Where else the curves of a training go: TensorBoard, Weights & Biases, MLflow, trackio."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.visualization.vis_backend import BaseVisBackend, force_init_env

from densecl.registry import VISBACKENDS

#: Name of a logger and of the package that it needs.
LOGGERS = ('tensorboard', 'wandb', 'mlflow', 'trackio')


def vis_backends(loggers: Sequence[str], run: str) -> list[dict[str, Any]]:
    """``visualizer.vis_backends`` of a config: the json files that densecl reads itself, and ``loggers``.

    Args:
        loggers: names of ``LOGGERS``.
        run: name of the run, for those that ask for one.

    Raises:
        ValueError: there is no such logger.
        ImportError: it is not installed.
    """
    for name in loggers:
        if name not in LOGGERS:
            raise ValueError(f'--log-to {name}: no such logger; there are {", ".join(LOGGERS)}')
        check_installed(name, f'--log-to {name}')
    backends = {
        'tensorboard': dict(type='TensorboardVisBackend'),
        'wandb': dict(type='WandbVisBackend', init_kwargs=dict(project='densecl', name=run)),
        'mlflow': dict(
            type='MLflowVisBackend', exp_name='densecl', run_name=run, tracked_config_keys=['work_dir'],
            tracking_uri=os.environ.get('MLFLOW_TRACKING_URI', 'sqlite:///mlflow.db'),  # as MLflow itself
        ),
        'trackio': dict(type='TrackioVisBackend'),
    }  # fmt: skip
    return [dict(type='LocalVisBackend'), *(backends[name] for name in dict.fromkeys(loggers))]


def check_installed(package: str, option: str) -> None:
    """Raise an ImportError that says what ``option`` of a command needs, where it is not there."""
    if importlib.util.find_spec(package) is None:
        raise ImportError(f'{option} needs the package {package}: pip install {package}')


@VISBACKENDS.register_module()
class TrackioVisBackend(BaseVisBackend):
    """Scalars and the config of a training, in `trackio <https://github.com/gradio-app/trackio>`_.

    Everything stays on this machine, in ``TRACKIO_DIR``; ``trackio show`` opens the curves. Each process of a
    training is a run of its own, named after the folder of the training and the time at which it began.

    Args:
        save_dir: where mmengine writes the logs, ``<folder of the training>/<time>/vis_data``.
        init_kwargs: arguments of ``trackio.init``, such as ``project``, ``space_id`` or ``server_url``.
    """

    def __init__(self, save_dir: str, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        self.init_kwargs = init_kwargs or {}

    def _init_env(self) -> None:
        import trackio

        folder, time = Path(self._save_dir).resolve().parts[-3:-1]
        known = dict(project='densecl', name=f'{folder} {time}', group=folder)
        self._run = trackio.init(**{**known, **self.init_kwargs})

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The ``trackio.Run``."""
        return self._run

    @force_init_env
    def add_config(self, config: Config, **kwargs) -> None:
        """Record the config; trackio sends it with the first scalars."""
        self._run.config.update(config.to_dict())

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs) -> None:
        """Record a number, or a tensor or array of one."""
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(self, scalar_dict: dict[str, Any], step: int = 0, file_path=None, **kwargs) -> None:
        """Record several numbers; ``file_path`` is of no use here."""
        self._run.log(_numbers(scalar_dict), step=step)

    def close(self) -> None:
        """Send what waits, and end the run."""
        if self._env_initialized:
            import trackio

            trackio.finish()
            self._env_initialized = False


def _numbers(scalars: dict[str, Any]) -> dict[str, float]:
    """Plain floats, tensors and arrays of one number included; trackio keeps the name ``time`` for itself."""
    return {'step_time' if name == 'time' else name: float(value) for name, value in scalars.items()}

"""Registries of densecl, children of mmengine's, under the scope ``densecl``.

Each registry names the modules that fill it (``locations``), and mmengine imports them the first time
something is looked up; ``import densecl`` itself therefore stays light. The import of this module puts the
mends of :mod:`densecl.compat` in place.
"""

from mmengine import registry as root

from densecl import (
    building,  # noqa: F401  (names the place of a mistake in every config that is built)
    compat,
)

compat.install()  # before anything of mmcv, mmdet or mmseg is imported


def _child(parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(parent.name, parent=parent, scope='densecl', locations=list(locations))


_ROOMS = (
    'backbones',
    'data_preprocessors',
    'heads',
    'losses',
    'matching',
    'memory',
    'necks',
    'pretrainers',
    'targets',
    'text',
)

MODELS = _child(root.MODELS, *(f'densecl.models.{room}' for room in _ROOMS))
DATASETS = _child(root.DATASETS, 'densecl.datasets')
TRANSFORMS = _child(root.TRANSFORMS, 'densecl.datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'densecl.datasets')
FUNCTIONS = _child(root.FUNCTIONS, 'densecl.datasets')
# No counterpart at the root: who names candidate objects in an image.
PROPOSALS = root.Registry('proposals', scope='densecl', locations=['densecl.proposals'])
HOOKS = _child(root.HOOKS, 'densecl.engine', 'densecl.transfer', 'densecl.visualization')
LOOPS = _child(root.LOOPS, 'densecl.engine')
LOG_PROCESSORS = _child(root.LOG_PROCESSORS, 'densecl.engine')
OPTIMIZERS = _child(root.OPTIMIZERS, 'densecl.engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'densecl.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'densecl.engine')
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS, 'densecl.engine')
RUNNERS = _child(root.RUNNERS, 'densecl.engine')
METRICS = _child(root.METRICS, 'densecl.evaluation')
VISBACKENDS = _child(root.VISBACKENDS, 'densecl.visualization.backends')

# Empty so far; they exist so that mmengine finds the scope and falls through to its own. Without a
# location it would log that densecl is not installed.
EVALUATOR = _child(root.EVALUATOR, __name__)
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS, __name__)
RUNNER_CONSTRUCTORS = _child(root.RUNNER_CONSTRUCTORS, __name__)
TASK_UTILS = _child(root.TASK_UTILS, __name__)
VISUALIZERS = _child(root.VISUALIZERS, __name__)
WEIGHT_INITIALIZERS = _child(root.WEIGHT_INITIALIZERS, __name__)

"""Reads the config text in a checkpoint without running it.

mmengine stores the config as Python source. To execute it would let a checkpoint run any code. So only
literals and ``dict(...)`` calls are read here; any other value becomes None. A ``type`` such as
``subprocess.Popen`` becomes None too, as mmengine's registries import and call an unknown type by its path.
"""

import ast
from typing import Any

#: Scopes whose registered classes a ``type`` may name; the classes of these packages are harmless.
_SCOPES = ('densecl', 'mmdet', 'mmpretrain', 'mmseg', 'mmselfsup')


def parse_config(text: Any) -> dict[str, Any]:
    """Top-level names and values of what ``mmengine.Config.pretty_text`` wrote; {} for anything else."""
    try:
        body = ast.parse(text if isinstance(text, str) else '').body
    except SyntaxError:
        return {}
    named = [n for n in body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    return {node.targets[0].id: _value(node.value) for node in named}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        merged = {}
        for argument in node.args:
            merged.update(_value(argument) or {})
        merged.update({k.arg: _value(k.value) for k in node.keywords if k.arg})
        return _without_paths(merged)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return _without_paths({_value(k): _value(v) for k, v in pairs if k is not None})
    if isinstance(node, (ast.List, ast.Tuple)):
        return (list if isinstance(node, ast.List) else tuple)(map(_value, node.elts))
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _without_paths(config: dict) -> dict:
    """The same config, with None for each ``type`` that is a path to import."""
    scope = str(config.get('type')).rpartition('.')[0]
    return config | {'type': None} if scope and scope not in _SCOPES else config

"""A room imports only what stands to its left in docs/architecture.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDERS = [
    re.findall(r'`(\w+)`', line)
    for line in (ROOT / 'docs/architecture.md').read_text().partition('## Imports')[2].splitlines()
    if line.startswith('- `structures` <')
]
MODELS = {path.parent.name for path in ROOT.glob('densecl/models/*/__init__.py')}


def imported(file: Path) -> set[str]:
    """The rooms of densecl that a file imports; what is imported for type checkers alone does not count."""
    found, rooms = set(), re.compile(r'densecl\.(?:models\.)?(\w+)')

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
            return
        if isinstance(node, ast.ImportFrom):
            parts = file.relative_to(ROOT).with_suffix('').parts[: -node.level] if node.level else ()
            module = '.'.join((*parts, *([node.module] if node.module else [])))
            names = [f'{module}.{alias.name}' for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found.update(match[1] for name in names if (match := rooms.match(name)))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding='utf-8')))
    return found


def test_the_document_names_the_orders():
    assert len(ORDERS) == 2 and ORDERS[0][-1] == 'pretrainers' and ORDERS[1][-1] == 'proposals'
    assert set(ORDERS[0][1:]) | {'data_preprocessors', 'text'} == MODELS


@pytest.mark.parametrize('order', ORDERS, ids=lambda order: order[-1])
def test_imports_point_to_the_left(order):
    for place, room in enumerate(order):
        folder = next(p for p in (ROOT / 'densecl' / room, ROOT / 'densecl/models' / room) if p.is_dir())
        allowed = {*order[: place + 1]}
        known = {*order, *MODELS, 'datasets', 'proposals', 'engine', 'evaluation', 'transfer', 'runs'}
        for file in folder.rglob('*.py'):
            wrong = imported(file) & known - allowed
            assert not wrong, f'{file.relative_to(ROOT)} imports {wrong}'

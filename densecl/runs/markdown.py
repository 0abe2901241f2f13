"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table with a line for each of ``lines``; bars in cells are escaped."""
    rows = [heads, ['---'] * len(heads), *lines]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in rows)

"""The text of a config, formatted once.

mmengine lets yapf format the config anew for the log, the file, the visualiser and the checkpoint: up to a
second each, for the same text.
"""

from collections.abc import Callable
from functools import lru_cache


def install_config_text() -> None:
    """Let mmengine keep what yapf made of the last texts; onedl-mmengine imports it late and is left so."""
    from mmengine.config import config

    format_code = getattr(config, 'FormatCode', None)
    if format_code is not None and not hasattr(format_code, 'densecl_original'):
        config.FormatCode = formatted_once(format_code)


def formatted_once(original: Callable) -> Callable:
    """``FormatCode`` of yapf, which formats a text again only when it has seen eight others since."""

    @lru_cache(maxsize=8)
    def remembered(text: str, style: tuple, options: tuple) -> tuple[str, bool]:
        return original(text, style_config=dict(style), **dict(options))

    def format_code(text: str, style_config: dict, **options) -> tuple[str, bool]:
        return remembered(text, tuple(style_config.items()), tuple(options.items()))

    format_code.densecl_original = original
    return format_code

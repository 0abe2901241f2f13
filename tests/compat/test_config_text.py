"""A config's text is formatted once, and as yapf alone formats it."""

import pytest
from mmengine.config import Config, config

from densecl import compat
from densecl.compat.config_text import formatted_once

pytestmark = pytest.mark.skipif(
    not hasattr(config, 'FormatCode'), reason='this mmengine imports yapf where it formats: nothing is mended'
)
CONTENT = dict(model=dict(type='A', channels=(1, 2, 3), layers=[dict(kernel=3, name='b' * 60)] * 3), lr=0.1)


def test_the_same_text_is_formatted_once(monkeypatch):
    compat.install()
    original, texts = config.FormatCode.densecl_original, []
    monkeypatch.setattr(config, 'FormatCode', original)
    expected, other = Config(CONTENT).pretty_text, Config(dict(CONTENT, lr=0.2)).pretty_text

    def counted(text, **options):
        texts.append(text)
        return original(text, **options)

    monkeypatch.setattr(config, 'FormatCode', formatted_once(counted))
    assert [Config(CONTENT).pretty_text for _ in range(3)] == [expected] * 3
    assert len(texts) == 1
    assert Config(dict(CONTENT, lr=0.2)).pretty_text == other != expected
    assert len(texts) == 2


def test_installing_again_changes_nothing():
    compat.install()
    before = config.FormatCode
    compat.install()
    assert config.FormatCode is before

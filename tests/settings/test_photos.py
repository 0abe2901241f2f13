"""What is told of a folder of photos before training."""

import pytest
from PIL import Image

from densecl.datasets import UnreadableImageError
from densecl.runs.sensor import look_at_sensor
from densecl.settings import describe_photos


@pytest.fixture
def photos(tmp_path):
    """Two hundred photos; the first is an empty file."""
    for i in range(200):
        Image.new('RGB', (60 + i % 3, 40)).save(tmp_path / f'{i:03}.jpg')
    (tmp_path / '000.jpg').write_bytes(b'')
    return sorted(str(path) for path in tmp_path.iterdir())


def test_some_unreadable_photos_are_told_and_left_out(photos):
    assert look_at_sensor(photos) is None
    found = describe_photos(photos)
    assert found.count == 200 and found.short_sides == (40, 40, 40)
    assert len(found.unreadable) == 1 and '000.jpg' in str(found) and 'the file is empty' in str(found)


def test_many_stop_as_training_would(photos):
    for path in photos[1:4]:
        with open(path, 'w') as file:
            file.write('no image')
    said = '000.jpg.*001.jpg.*003.jpg.*4 of 200 photos looked at cannot be read, more than 1%; mend '
    with pytest.raises(UnreadableImageError, match=said + 'or remove them, or .*max_unreadable=0.1'):
        describe_photos(photos)
    assert len(describe_photos(photos, most_unreadable=0.1).unreadable) == 4
    with pytest.raises(UnreadableImageError, match='4 of 4 photos looked at cannot be read, mend'):
        describe_photos(photos[:4], most_unreadable=1)

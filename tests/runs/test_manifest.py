"""A manifest's hash tells one list of files from another, wherever the files lie."""

import hashlib
import shutil

from densecl.runs.manifest import hash_files, make_manifest


def write(folder, **files) -> list[str]:
    for name, data in files.items():
        path = folder / name.replace('__', '/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [str(folder / name.replace('__', '/')) for name in files]


def test_hash_is_that_of_sorted_names_and_sizes(tmp_path):
    paths = write(tmp_path / 'x', b__two=b'22', a__one=b'1')
    assert hash_files(paths) == hashlib.sha256(b'a/one\t1\nb/two\t2\n').hexdigest()
    assert hash_files(paths[::-1]) == hash_files(paths)


def test_moved_files_keep_their_hash(tmp_path):
    paths = write(tmp_path / 'x', b__two=b'22', a__one=b'1')
    shutil.copytree(tmp_path / 'x', tmp_path / 'y')
    assert hash_files([path.replace('/x/', '/y/') for path in paths]) == hash_files(paths)


def test_another_size_or_name_or_content_is_another_hash(tmp_path):
    paths = write(tmp_path, a__one=b'1', b__two=b'22')
    before, contents = hash_files(paths), hash_files(paths, contents=True)
    write(tmp_path, a__one=b'7')
    assert hash_files(paths) == before
    assert hash_files(paths, contents=True) != contents
    write(tmp_path, a__one=b'77')
    assert hash_files(paths) != before
    assert hash_files(write(tmp_path, a__one=b'77', b__three=b'22')) != hash_files(paths)


def test_manifest_has_files_settings_start_and_versions(tmp_path):
    paths = write(tmp_path, a=b'12345', b=b'6')
    record = make_manifest(paths, {'batch': 64}, {'name': 'imagenet', 'licence': 'Apache-2.0'})
    assert record['photos']['count'] == 2 and record['photos']['bytes'] == 6
    assert record['start']['licence'] == 'Apache-2.0' and record['settings'] == {'batch': 64}
    assert {'python', 'densecl', 'torch', 'mmengine'} <= record['versions'].keys()
